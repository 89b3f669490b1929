// SPDX-License-Identifier: Apache-2.0
// The tiled product: a block makes 64 x 64 of c, from panels of 32 in shared memory; by tensor cores where products are
// bf16, else by fused multiply-adds in f32. What the emulation runs, and a device without cuBLASLt.
#include "cuda/kernels/product.h"

#include "cuda/cublaslt.h"
#include "cuda/launch/mma.h"

namespace meft {
namespace cuda {

namespace {

constexpr int kTile = 64;                // rows and columns of c that a block makes
constexpr int kDepth = 32;               // of a panel
constexpr int kPairs = kDepth / 2;       // bf16 pairs of a panel's row
constexpr int kPairStride = kPairs + 4;  // words: the eight rows of a fragment fall into banks of their own
constexpr int kFloatStride = kTile + 4;

template <class T>
struct Strided {
    const T *data;
    int64_t row;
    int64_t col;
};

// Element (i,j), zero outside (rows, cols).
template <class T>
__device__ __forceinline__ float element_or_zero(const Strided<T> &x, int64_t i, int64_t j, int64_t rows,
                                                 int64_t cols) {
    return i < rows && j < cols ? load_element(x.data + i * x.row + j * x.col) : 0.0f;
}

__device__ __forceinline__ unsigned pack_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    unsigned bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// The place of the thread's e-th of kTile * width pieces of a panel: neighbours in memory go to neighbouring threads.
__device__ __forceinline__ void piece_of(int e, int width, bool along_depth, int *line, int *at) {
    *line = along_depth ? e / width : e % kTile;
    *at = along_depth ? e % width : e / kTile;
}

// panel[line][pair]: bf16 pairs along the depth. line is a row of a (first = its row) or a column of b.
template <class T>
__device__ __forceinline__ void load_pairs(unsigned (*panel)[kPairStride], const Strided<T> &x, int64_t first,
                                           int64_t depth, int64_t lines, int64_t depths, bool along_depth) {
    for (int e = threadIdx.x; e < kTile * kPairs; e += blockDim.x) {
        int line, pair;
        piece_of(e, kPairs, along_depth, &line, &pair);
        const int64_t j = depth + 2 * pair;
        panel[line][pair] = pack_pair(element_or_zero(x, first + line, j, lines, depths),
                                      element_or_zero(x, first + line, j + 1, lines, depths));
    }
}

// panel[depth][line].
template <class T>
__device__ __forceinline__ void load_floats(float (*panel)[kFloatStride], const Strided<T> &x, int64_t first,
                                            int64_t depth, int64_t lines, int64_t depths, bool along_depth) {
    for (int e = threadIdx.x; e < kTile * kDepth; e += blockDim.x) {
        int line, j;
        piece_of(e, kDepth, along_depth, &line, &j);
        panel[j][line] = element_or_zero(x, first + line, depth + j, lines, depths);
    }
}

template <class C>
__device__ __forceinline__ void put_element(C *at, float value, bool accumulate) {
    store_element(at, accumulate ? load_element(at) + value : value);
}

__device__ __forceinline__ void put(const Activation &c, float value, int64_t i, int64_t j, int64_t m, int64_t n,
                                    bool accumulate) {
    if (i >= m || j >= n) return;
    const int64_t at = i * n + j;
    if (c.dtype == MEFT_BF16)
        put_element(static_cast<__nv_bfloat16 *>(c.data) + at, value, accumulate);
    else
        put_element(static_cast<float *>(c.data) + at, value, accumulate);
}

// b is given by columns: b(j, depth). 8 warps: 4 down by 2 across, 16 x 32 of c each.
template <class A, class B>
__global__ void __launch_bounds__(256)
    mma_product_kernel(Activation c, Strided<A> a, Strided<B> b, int64_t m, int64_t n, int64_t k, bool accumulate) {
    __shared__ unsigned as[kTile][kPairStride], bs[kTile][kPairStride];
    const int64_t row = int64_t(blockIdx.y) * kTile, col = int64_t(blockIdx.x) * kTile;
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int top = warp / 2 * 16, left = warp % 2 * 32;
    float sums[4][4] = {};
    for (int64_t depth = 0; depth < k; depth += kDepth) {
        load_pairs(as, a, row, depth, m, k, a.col == 1);
        load_pairs(bs, b, col, depth, n, k, b.col == 1);
        __syncthreads();
        for (int half = 0; half < kPairs; half += 8) {
            const unsigned af[4] = {as[top + g][half + t], as[top + g + 8][half + t], as[top + g][half + t + 4],
                                    as[top + g + 8][half + t + 4]};
            for (int j = 0; j < 4; ++j) {
                const unsigned bf[2] = {bs[left + 8 * j + g][half + t], bs[left + 8 * j + g][half + t + 4]};
                meft_mma(sums[j], af, bf);
            }
        }
        __syncthreads();
    }
    for (int j = 0; j < 4; ++j) {
        for (int e = 0; e < 4; ++e) {
            put(c, sums[j][e], row + top + g + e / 2 * 8, col + left + 8 * j + 2 * t + (e & 1), m, n, accumulate);
        }
    }
}

// The same in f32: a thread makes 4 x 4 of c.
template <class A, class B>
__global__ void __launch_bounds__(256)
    fma_product_kernel(Activation c, Strided<A> a, Strided<B> b, int64_t m, int64_t n, int64_t k, bool accumulate) {
    __shared__ float as[kDepth][kFloatStride], bs[kDepth][kFloatStride];
    const int64_t row = int64_t(blockIdx.y) * kTile, col = int64_t(blockIdx.x) * kTile;
    const int top = threadIdx.x / 16 * 4, left = threadIdx.x % 16 * 4;
    float sums[4][4] = {};
    for (int64_t depth = 0; depth < k; depth += kDepth) {
        load_floats(as, a, row, depth, m, k, a.col == 1);
        load_floats(bs, b, col, depth, n, k, b.col == 1);
        __syncthreads();
        for (int d = 0; d < kDepth; ++d) {
            for (int i = 0; i < 4; ++i) {
                for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(as[d][top + i], bs[d][left + j], sums[i][j]);
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) put(c, sums[i][j], row + top + i, col + left + j, m, n, accumulate);
    }
}

template <class A, class B>
void launch_tiles(Operands &on, const Product &p, const A *a, const B *b) {
    const dim3 grid(unsigned((p.n + kTile - 1) / kTile), unsigned((p.m + kTile - 1) / kTile));
    const Strided<A> left{a, p.a.row, p.a.col};
    const Strided<B> right{b, p.b.col, p.b.row};  // by columns
    if (p.compute == MEFT_BF16) {
        MEFT_LAUNCH((mma_product_kernel<A, B>), grid, 256, 0, on.stream, p.c, left, right, p.m, p.n, p.k, p.accumulate);
    } else {
        MEFT_LAUNCH((fma_product_kernel<A, B>), grid, 256, 0, on.stream, p.c, left, right, p.m, p.n, p.k, p.accumulate);
    }
}

void multiply_in_tiles(Operands &on, const Product &p) {
    with_activation(p.a.dtype, [&](auto element) {
        const auto *a = static_cast<const decltype(element) *>(p.a.data);
        with_elements(p.b.data, p.b.dtype, [&](auto *b) { launch_tiles(on, p, a, b); });
    });
}

}  // namespace

void multiply(meft_ctx &lane, Operands &on, const Product &wanted) {
    Product product = wanted;
    product.bias = nullptr;
    if (product.m == 0 || product.n == 0) return;
    if (product.k == 0) {
        const Activation &c = product.c;
        if (!product.accumulate) fill_zero(c.data, product.m * product.n * activation_bytes(c.dtype), on.stream);
        return;
    }
    if (!multiply_by_cublaslt(lane, on, product)) multiply_in_tiles(on, product);
}

}  // namespace cuda
}  // namespace meft
