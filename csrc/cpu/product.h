// SPDX-License-Identifier: Apache-2.0
// A whole matrix product on all threads of a lane, cut into tiles for gemm_tile.h.
#pragma once

#include "core/context.h"
#include "core/mapping.h"
#include "cpu/activation_element.h"

namespace meft {
namespace MEFT_TARGET_NS {

// C (m x n) = or += A (m x k) * B (k x n). Each element is summed by one thread in increasing k, rounded to f32 at
// fixed cuts of k, so its bits depend on neither threads nor m and n.
struct Product {
    float *c;
    int64_t ldc;
    Matrix a;
    bool a_transposed;  // a holds A^T: A[i][p] = a[p][i]
    Matrix b;
    bool b_transposed;  // b holds B^T: B[p][j] = b[j][p]
    int64_t m, n, k;
    bool accumulate;
    // Written, or added to, instead of c where not null: sums are rounded as they leave the cache. See rounds_sums.
    bfloat16 *rounded = nullptr;
};

// Whether wide_product can round the sums of a product of these sizes itself: those of a row of A are not cut.
template <class Compute>
bool rounds_sums(Matrix a, int64_t m, int64_t k);

// The wide way: A by broadcast (converted once where it must be), B packed in panels as they are needed. Packing
// costs about as much as 6 rows of A, so it wants m >= 128 or so.
template <class Compute>
void wide_product(meft_ctx &lane, const Product &product);

// The narrow way, for n of a few up to some hundreds: B is packed once and stays in cache, A is read by broadcast as
// it lies, rows that must be converted a few at a time. Takes b_transposed, not a_transposed, and writes C^T: the
// element (i, j) goes to c[j * ldc + i].
template <class Compute>
void narrow_product(meft_ctx &lane, const Product &product);

// y (tokens, bias.cols) += bias. In kernels/linear.cpp.
void add_bias(meft_ctx &lane, float *y, const StoredWeight &bias, int64_t tokens);

// Work below this many multiply-adds stays on the calling thread: waking a parked worker costs 5 to 50 us.
constexpr int64_t kSerialWork = 1 << 18;

}  // namespace MEFT_TARGET_NS
}  // namespace meft
