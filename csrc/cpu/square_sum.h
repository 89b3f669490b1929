// SPDX-License-Identifier: Apache-2.0
// A sum of squares in f64, of a fixed order: element i of a chunk goes to sum i % 8. Every norm of gradients is made of
// such chunks, so that a norm of gradients that were never written out has the same bits.
#pragma once

#include <cstdint>

#ifndef MEFT_TARGET_NS
#error "MEFT_TARGET_NS names the target's namespace"
#endif

namespace meft {
namespace MEFT_TARGET_NS {

constexpr int64_t kSquareChunk = 1 << 14;  // elements of a chunk

struct SquareSum {
    double lanes[8] = {};

    // Elements [begin, begin + count) of the chunk.
    void add(const float *x, int64_t begin, int64_t count) {
        int64_t i = 0;
        for (; i < count && (begin + i) % 8 != 0; ++i) lanes[(begin + i) % 8] += double(x[i]) * double(x[i]);
        for (; i + 8 <= count; i += 8) {
            for (int j = 0; j < 8; ++j) lanes[j] += double(x[i + j]) * double(x[i + j]);
        }
        for (int j = 0; i < count; ++i, ++j) lanes[j] += double(x[i]) * double(x[i]);
    }
    double total() const {
        return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    }
};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
