// SPDX-License-Identifier: Apache-2.0
// Rows of a matrix as the sparse adapter's kernels read them: f32, the bf16 plane alone, or both planes joined.
// at(r, c) is a place in row r; load(i, lanes) reads from i elements further on as f32, lanes as in each_vector.
#pragma once

#include "cpu/split_planes.h"
#include "meft.h"

namespace meft {
namespace MEFT_TARGET_NS {

inline vf load_bf16(const uint16_t *p, All) { return load_bf16(p); }
inline vf load_bf16(const uint16_t *p, First lanes) { return load_bf16_part(p, lanes.n); }

struct F32Rows {
    const float *data;
    int64_t stride;

    struct Row {
        const float *data;
        template <class Lanes>
        vf load(int64_t i, Lanes lanes) const {
            return meft::MEFT_TARGET_NS::load(data + i, lanes);
        }
        void prefetch(int64_t i) const { __builtin_prefetch(data + i); }
    };
    static constexpr int kLineElements = 16;
    Row at(int64_t r, int64_t c) const { return {data + r * stride + c}; }
};

struct HighRows {
    const uint16_t *hi;
    int64_t stride;

    struct Row {
        const uint16_t *hi;
        template <class Lanes>
        vf load(int64_t i, Lanes lanes) const {
            return load_bf16(hi + i, lanes);
        }
        void prefetch(int64_t i) const { __builtin_prefetch(hi + i); }
    };
    static constexpr int kLineElements = 32;
    Row at(int64_t r, int64_t c) const { return {hi + r * stride + c}; }
};

struct JoinedRows {
    const uint16_t *hi;
    const int16_t *lo;
    int64_t stride;

    struct Row {
        const uint16_t *hi;
        const int16_t *lo;
        template <class Lanes>
        vf load(int64_t i, Lanes lanes) const {
            return load_planes(hi + i, lo + i, lanes);
        }
        void prefetch(int64_t i) const {
            __builtin_prefetch(hi + i);
            __builtin_prefetch(lo + i);
        }
    };
    static constexpr int kLineElements = 32;
    Row at(int64_t r, int64_t c) const { return {hi + r * stride + c, lo + r * stride + c}; }
};

// Keys or values of an adapter.
struct AdapterRows {
    const uint16_t *hi;
    const int16_t *lo;
    int64_t hidden;
};

// Calls body with the rows as `compute` reads them.
template <class Body>
void with_rows(const AdapterRows &rows, int32_t compute, Body &&body) {
    if (compute == MEFT_BF16) {
        body(HighRows{rows.hi, rows.hidden});
    } else {
        body(JoinedRows{rows.hi, rows.lo, rows.hidden});
    }
}

}  // namespace MEFT_TARGET_NS
}  // namespace meft
