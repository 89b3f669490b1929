// SPDX-License-Identifier: Apache-2.0
// Residual streams in fixed point. A thread has one lane of a group: the rows of it, whose dropped bits are whole words of
// its own; the sixteen lanes of a group read and write together.
#include "kernels/coupling.h"

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

namespace {

constexpr int kAhead = 8;  // rows that are read before the first of them is written, which may be in their place

// x to the nearest whole number, ties to even; 0 where |x| is not below 2^31.
__device__ __forceinline__ int32_t to_int(float x) { return fabsf(x) < 2147483648.f ? int32_t(rintf(x)) : 0; }

__device__ __forceinline__ int32_t wrapped_sum(int32_t a, int32_t b) { return int32_t(uint32_t(a) + uint32_t(b)); }
__device__ __forceinline__ int32_t wrapped_difference(int32_t a, int32_t b) {
    return int32_t(uint32_t(a) - uint32_t(b));
}

// What a thread put into a stream: how many elements did not fit, and the bits of the largest magnitude, NaN above all.
struct Misfits {
    unsigned count = 0;
    int largest = 0;

    __device__ __forceinline__ void add(float magnitude, float limit) {
        count += !(magnitude < limit);
        largest = max(largest, __float_as_int(magnitude) & 0x7fffffff);
    }
    // Adds a warp's to the account, whose floats are not negative and so in the order of their bits; a count is exact, so
    // that its order does not matter.
    __device__ __forceinline__ void give(float *account) const {
        const unsigned misfits = __reduce_add_sync(0xffffffffu, count);
        const int most = __reduce_max_sync(0xffffffffu, largest);
        if ((threadIdx.x & 31) != 0) return;
        atomicMax(reinterpret_cast<int *>(account + 1), most > 0x7f800000 ? 0x7fc00000 : most);
        if (misfits == 0) return;
        unsigned *sum = reinterpret_cast<unsigned *>(account);
        for (unsigned old = *sum, seen;; old = seen) {
            const float all = fminf(__uint_as_float(old) + float(misfits), kMostMisfits);
            seen = atomicCAS(sum, old, __float_as_uint(all));
            if (seen == old) break;
        }
    }
};

__global__ void to_fixed_kernel(int32_t *s, float *account, const float *x, int64_t count, float per_unit,
                                float limit) {
    Misfits misfits;
    MEFT_FOR_EACH(i, count) {
        const float value = x[i];
        misfits.add(fabsf(value), limit);
        s[i] = to_int(value * per_unit);
    }
    __syncwarp();
    misfits.give(account);
}

__global__ void from_fixed_kernel(float *x, const int32_t *s, int64_t count, float unit) {
    MEFT_FOR_EACH(i, count) x[i] = float(s[i]) * unit;
}

// First element, and first word of dropped bits, of a thread's lane.
__device__ __forceinline__ int64_t first_of(int64_t lane) {
    return lane / kCouplingLanes * kCouplingGroup + lane % kCouplingLanes;
}
__device__ __forceinline__ int64_t word_of(int64_t lane, int shift) {
    return lane / kCouplingLanes * kCouplingLanes * shift + lane % kCouplingLanes;
}

// Scales of one call.
struct Scales {
    float per_unit, unit, limit;
    int shift;
};

__global__ void __launch_bounds__(kThreads)
    forward_kernel(int32_t *y, int32_t *dropped, float *view, float *account, const int32_t *x, const float *f,
                   int64_t count, int64_t lanes, Scales scales) {
    Misfits misfits;
    const int64_t lane = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    const int64_t first = first_of(lane);
    int64_t word = word_of(lane, scales.shift);
    uint32_t held = 0;
    int place = 0;
    for (int row = 0; row < kCouplingRows && lane < lanes; row += kAhead) {
        int32_t whole[kAhead];
        float added[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int64_t i = first + (row + a) * kCouplingLanes;
            whole[a] = i < count ? x[i] : 0;
            added[a] = i < count ? f[i] : 0;
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int64_t i = first + (row + a) * kCouplingLanes;
            const int32_t kept = whole[a] >> scales.shift;
            const float size = fabsf(added[a]), sum = fabsf(float(kept) * scales.unit + added[a]);
            misfits.add(size > sum ? size : sum, scales.limit);
            const int32_t out = wrapped_sum(kept, to_int(added[a] * scales.per_unit));
            if (i < count) {
                y[i] = out;
                if (view != nullptr) view[i] = float(out) * scales.unit;
            }
            const uint32_t bits = uint32_t(whole[a]) & ((1u << scales.shift) - 1);
            held |= bits << place;
            place += scales.shift;
            if (place < 32) continue;
            place -= 32;
            dropped[word] = int32_t(held);
            word += kCouplingLanes;
            held = place > 0 ? bits >> (scales.shift - place) : 0;
        }
    }
    __syncwarp();
    misfits.give(account);
}

__global__ void __launch_bounds__(kThreads)
    inverse_kernel(int32_t *x, const int32_t *y, const int32_t *dropped, const float *f, int64_t count, int64_t lanes,
                   Scales scales) {
    const int64_t lane = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    if (lane >= lanes) return;
    const int64_t first = first_of(lane);
    int64_t word = word_of(lane, scales.shift);
    uint64_t held = 0;
    int left = 0;
    for (int row = 0; row < kCouplingRows; row += kAhead) {
        int32_t coupled[kAhead];
        float added[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int64_t i = first + (row + a) * kCouplingLanes;
            coupled[a] = i < count ? y[i] : 0;
            added[a] = i < count ? f[i] : 0;
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int64_t i = first + (row + a) * kCouplingLanes;
            if (left < scales.shift) {
                held |= uint64_t(uint32_t(dropped[word])) << left;
                word += kCouplingLanes;
                left += 32;
            }
            const uint32_t bits = uint32_t(held) & ((1u << scales.shift) - 1);
            held >>= scales.shift;
            left -= scales.shift;
            if (i >= count) continue;
            const int32_t kept = wrapped_difference(coupled[a], to_int(added[a] * scales.per_unit));
            x[i] = int32_t(uint32_t(kept) << scales.shift | bits);
        }
    }
}

// Lanes of all groups, whole words of dropped bits, and the blocks that have a thread for each lane.
struct Layout {
    int64_t lanes, words;
    dim3 grid;

    Layout(int64_t count, int32_t shift)
        : lanes((count + kCouplingGroup - 1) / kCouplingGroup * kCouplingLanes), words(lanes * shift),
          grid(unsigned((lanes + kThreads - 1) / kThreads)) {}
};

Scales scales_of(CouplingScale scale) {
    return {scale.per_unit(), scale.unit(), kCouplingLimit * scale.unit(), scale.shift};
}

void to_fixed(meft_ctx &lane, int32_t *s, float *account, const float *x, int64_t count, int32_t fraction) {
    if (count == 0) return;
    const Scales scales = scales_of({fraction, 0});
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(to_fixed_kernel, grid_of(count), kThreads, 0, on.stream, on.out(s, count), on.inout(account, 2),
                    on.in(x, count), count, scales.per_unit, scales.limit);
    });
}

void from_fixed(meft_ctx &lane, float *x, const int32_t *s, int64_t count, int32_t fraction) {
    if (count == 0) return;
    const float unit = scales_of({fraction, 0}).unit;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(from_fixed_kernel, grid_of(count), kThreads, 0, on.stream, on.out(x, count), on.in(s, count), count,
                    unit);
    });
}

void forward(meft_ctx &lane, int32_t *y, int32_t *dropped, float *view, float *account, const int32_t *x,
             const float *f, int64_t count, CouplingScale scale) {
    if (count == 0) return;
    const Layout layout(count, scale.shift);
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(forward_kernel, layout.grid, kThreads, 0, on.stream, on.out(y, count),
                    on.out(dropped, layout.words), on.out(view, count), on.inout(account, 2), on.in(x, count),
                    on.in(f, count), count, layout.lanes, scales_of(scale));
    });
}

void inverse(meft_ctx &lane, int32_t *x, const int32_t *y, const int32_t *dropped, const float *f, int64_t count,
             CouplingScale scale) {
    if (count == 0) return;
    const Layout layout(count, scale.shift);
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(inverse_kernel, layout.grid, kThreads, 0, on.stream, on.out(x, count), on.in(y, count),
                    on.in(dropped, layout.words), on.in(f, count), count, layout.lanes, scales_of(scale));
    });
}

}  // namespace

extern const coupling_kernels coupling_table;
const coupling_kernels coupling_table = {to_fixed, from_fixed, forward, inverse};

}  // namespace cuda
}  // namespace meft
