// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and Box-Muller; a thread makes
// one block of four words.
#include "kernels/random.h"

#include "cuda/kernels/elements.cuh"

namespace meft {
namespace cuda {

namespace {

constexpr double kTwoPi = 6.283185307179586476925;
constexpr uint32_t kDropoutDomain = 4;

struct Words {
    uint32_t at[4];
};

__device__ __forceinline__ Words philox4x32(Words x, uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const uint32_t low0 = 0xd2511f53u * x.at[0], high0 = __umulhi(0xd2511f53u, x.at[0]);
        const uint32_t low1 = 0xcd9e8d57u * x.at[2], high1 = __umulhi(0xcd9e8d57u, x.at[2]);
        x = {{high1 ^ x.at[1] ^ key0, low1, high0 ^ x.at[3] ^ key1, low0}};
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
    return x;
}

// In f64 and by products only, which nothing fuses: the CPU's bits, but for what the two machines' log, cos and sin
// differ by in f64 (an ulp), which reaches a f32 about once in 2^28 numbers.
__global__ void random_normal_kernel(float *out, int64_t count, uint32_t seed, uint32_t stream_id, double deviation) {
    const int64_t block = int64_t(blockIdx.x) * kThreads + threadIdx.x, i = block * 4;
    if (i >= count) return;
    const Words words = philox4x32({{uint32_t(block), uint32_t(block >> 32), 0, 0}}, seed, stream_id);
    float normals[4];
    for (int pair = 0; pair < 4; pair += 2) {
        const double u0 = (double(words.at[pair]) + 0.5) * 0x1p-32, u1 = (double(words.at[pair + 1]) + 0.5) * 0x1p-32;
        const double radius = deviation * sqrt(-2.0 * log(u0)), angle = kTwoPi * u1;
        normals[pair] = float(radius * cos(angle));
        normals[pair + 1] = float(radius * sin(angle));
    }
    for (int j = 0; j < 4 && i + j < count; ++j) out[i + j] = normals[j];
}

struct DropoutMask {
    uint32_t seed, stream_id, part, threshold;
    float scale;
    bool accumulate;
};

// Threads count blocks of the mask, of which the first and the last may reach over the array's ends.
template <class Y, class X>
__global__ void dropout_kernel(Y *y, const X *x, int64_t count, int64_t first, DropoutMask mask) {
    const int64_t block = first / 4 + int64_t(blockIdx.x) * kThreads + threadIdx.x, begin = block * 4 - first;
    if (begin >= count) return;
    const Words words =
        philox4x32({{uint32_t(block), uint32_t(block >> 32), mask.part, kDropoutDomain}}, mask.seed, mask.stream_id);
    for (int j = 0; j < 4; ++j) {
        const int64_t i = begin + j;
        if (i < 0 || i >= count) continue;
        // Not fused with the sum: the CPU's bits.
        const float kept = words.at[j] >= mask.threshold ? __fmul_rn(mask.scale, load_element(x + i)) : 0.f;
        store_element(y + i, mask.accumulate ? __fadd_rn(load_element(y + i), kept) : kept);
    }
}

void normal(meft_ctx &lane, float *out, int64_t count, uint32_t seed, uint32_t stream, float deviation) {
    if (count == 0) return;
    on_device(lane, [&](Operands &on) {
        MEFT_LAUNCH(random_normal_kernel, dim3(blocks_for(count, 4 * kThreads)), kThreads, 0, on.stream,
                    on.out(out, count), count, seed, stream, double(deviation));
    });
}

void dropout(meft_ctx &lane, void *y, const void *x, int64_t count, const meft_dropout &mask) {
    if (count == 0) return;
    const double wide = floor(mask.probability * 0x1p32 + 0.5);
    const DropoutMask device = {mask.seed,
                                mask.stream,
                                mask.part,
                                wide < 0xffffffffp0 ? uint32_t(wide) : 0xffffffffu,
                                float(1.0 / (1.0 - mask.probability)),
                                mask.accumulate != 0};
    on_device(lane, [&](Operands &on) {
        const Activation result = {y, mask.y_dtype};
        void *to = device.accumulate ? on.inout(result, count) : on.out(result, count);
        const void *from = on.in(ConstActivation{x, mask.x_dtype}, count);
        const dim3 grid(blocks_for(mask.first % 4 + count, 4 * kThreads));
        with_activation(mask.y_dtype, [&](auto out) {
            with_activation(mask.x_dtype, [&](auto in) {
                using Y = decltype(out);
                using X = decltype(in);
                MEFT_LAUNCH((dropout_kernel<Y, X>), grid, kThreads, 0, on.stream, static_cast<Y *>(to),
                            static_cast<const X *>(from), count, mask.first, device);
            });
        });
    });
}

}  // namespace

extern const random_kernels random_table;
const random_kernels random_table = {normal, dropout};

}  // namespace cuda
}  // namespace meft
