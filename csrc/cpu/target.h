// SPDX-License-Identifier: Apache-2.0
// The target that a file is compiled for: MEFT_TARGET_NS names its namespace, the compiler's flags its instruction set.
// Here stands what cpu/targets.def says of it, and what it may have of its own in products; the rest is the target's
// file, which cpu/simd.h includes.
#pragma once

#include <cstdint>

#include "meft.h"

#ifndef MEFT_TARGET_NS
#error "MEFT_TARGET_NS names the target's namespace"
#endif

namespace meft {

struct TargetFacts {
    int32_t number;
    int lanes, panel;
    bool multiplies_bf16;
    int64_t row_block, depth_bytes;
    bool in_tiles;
};
#define MEFT_TARGET(number, name, lanes, panel, bf16, rows, depth, tiles, processors, flags, test) \
    namespace name {                                                                               \
    constexpr TargetFacts kFacts = {number, lanes, panel, bf16, rows, depth, tiles};               \
    }
#include "cpu/targets.def"
#undef MEFT_TARGET

namespace MEFT_TARGET_NS {

constexpr int32_t kTarget = kFacts.number;

struct RoundedBf16;

// How a target multiplies. One that does it in its own way says so in its file, by its number.
template <int32_t number>
struct Products {
    typedef RoundedBf16 Bf16;  // see cpu/element.h
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
