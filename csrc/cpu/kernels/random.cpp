// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and Box-Muller.
#include "kernels/random.h"

#include "core/pool.h"
#include "cpu/activation_element.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 1 << 12;  // a multiple of a block's 4
constexpr double kTwoPi = 6.283185307179586476925;

void philox4x32(uint32_t words[4], uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const uint64_t product0 = uint64_t(0xd2511f53u) * words[0], product1 = uint64_t(0xcd9e8d57u) * words[2];
        words[0] = uint32_t(product1 >> 32) ^ words[1] ^ key0;
        words[1] = uint32_t(product1);
        words[2] = uint32_t(product0 >> 32) ^ words[3] ^ key1;
        words[3] = uint32_t(product0);
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
}

// Elements 4*block .. 4*block+3. In f64 and by products only, which no target fuses: the same bits on each.
void normal_block(float out[4], uint64_t block, uint32_t seed, uint32_t stream, double deviation) {
    uint32_t words[4] = {uint32_t(block), uint32_t(block >> 32), 0, 0};
    philox4x32(words, seed, stream);
    for (int pair = 0; pair < 4; pair += 2) {
        const double u0 = (double(words[pair]) + 0.5) * 0x1p-32, u1 = (double(words[pair + 1]) + 0.5) * 0x1p-32;
        const double radius = deviation * std::sqrt(-2.0 * std::log(u0)), angle = kTwoPi * u1;
        out[pair] = float(radius * std::cos(angle));
        out[pair + 1] = float(radius * std::sin(angle));
    }
}

void normal(meft_ctx &lane, float *out, int64_t count, uint32_t seed, uint32_t stream, float deviation) {
    lane.ran_target = kTarget;
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; i += 4) {
            float block[4];
            normal_block(block, uint64_t(i) / 4, seed, stream, deviation);
            std::memcpy(out + i, block, size_t(end - i < 4 ? end - i : 4) * 4);
        }
    });
}

// Blocks made side by side: so many that compilers keep the loops over them, and turn those into vectors.
constexpr int kBlocks = 64;
constexpr uint32_t kDropoutDomain = 4;

// Words of blocks first .. first + kBlocks - 1, block by block.
void dropout_words(uint32_t words[4 * kBlocks], uint64_t first, const meft_dropout &mask) {
    uint32_t x0[kBlocks], x1[kBlocks], x2[kBlocks], x3[kBlocks];
    for (int j = 0; j < kBlocks; ++j) {
        const uint64_t block = first + uint64_t(j);
        x0[j] = uint32_t(block);
        x1[j] = uint32_t(block >> 32);
        x2[j] = mask.part;
        x3[j] = kDropoutDomain;
    }
    uint32_t key0 = mask.seed, key1 = mask.stream;
    for (int round = 0; round < 10; ++round) {
        for (int j = 0; j < kBlocks; ++j) {
            const uint64_t product0 = uint64_t(0xd2511f53u) * x0[j], product1 = uint64_t(0xcd9e8d57u) * x2[j];
            x0[j] = uint32_t(product1 >> 32) ^ x1[j] ^ key0;
            x1[j] = uint32_t(product1);
            x2[j] = uint32_t(product0 >> 32) ^ x3[j] ^ key1;
            x3[j] = uint32_t(product0);
        }
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
    for (int j = 0; j < kBlocks; ++j) {
        words[4 * j] = x0[j];
        words[4 * j + 1] = x1[j];
        words[4 * j + 2] = x2[j];
        words[4 * j + 3] = x3[j];
    }
}

template <class Y, class X>
void dropout_of(meft_ctx &lane, Y *y, const X *x, int64_t count, const meft_dropout &mask) {
    const double wide = std::floor(mask.probability * 0x1p32 + 0.5);
    const uint32_t threshold = wide < 0xffffffffp0 ? uint32_t(wide) : 0xffffffffu;
    const float scale = float(1.0 / (1.0 - mask.probability));
    const bool accumulate = mask.accumulate != 0;
    // Pieces of the mask, not of the array, so that a piece begins with a block.
    const int64_t skipped = mask.first % 4, first_block = mask.first / 4;
    parallel_chunks(lane, skipped + count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; i += 4 * kBlocks) {
            uint32_t words[4 * kBlocks];
            dropout_words(words, uint64_t(first_block + i / 4), mask);
            const int64_t low = i < skipped ? skipped : i, high = end - i < 4 * kBlocks ? end : i + 4 * kBlocks;
            for (int64_t place = low; place < high; ++place) {
                const float scaled = scale * value_of(x[place - skipped]);  // always: a masked load is not worth it
                const float kept = words[place - i] >= threshold ? scaled : 0.0f;
                set_value(y[place - skipped], accumulate ? value_of(y[place - skipped]) + kept : kept);
            }
        }
    });
}

void dropout(meft_ctx &lane, void *y, const void *x, int64_t count, const meft_dropout &mask) {
    lane.ran_target = kTarget;
    with_activation(mask.y_dtype, [&](auto out) {
        with_activation(mask.x_dtype, [&](auto in) {
            dropout_of(lane, static_cast<decltype(out) *>(y), static_cast<const decltype(in) *>(x), count, mask);
        });
    });
}

}  // namespace

extern const random_kernels random_table;
const random_kernels random_table = {normal, dropout};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
