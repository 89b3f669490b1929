// SPDX-License-Identifier: Apache-2.0
// Tables of families that work on the host alone: their rows live there, and so does what reads and writes them.
#pragma once

#include "core/guard.h"

namespace meft {
namespace cuda {

template <class F>
struct Absent;
template <class Result, class... Arguments>
struct Absent<Result (*)(Arguments...)> {
    static Result call(Arguments...) { fail(MEFT_UNSUPPORTED, "this runs on a CPU lane, not on the device"); }
};

}  // namespace cuda
}  // namespace meft

// A member of a table that fails with a sentence.
#define MEFT_ABSENT(family, member) ::meft::cuda::Absent<decltype(family##_kernels::member)>::call
