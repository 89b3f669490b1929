// SPDX-License-Identifier: Apache-2.0
// Matrix products on the device: by cuBLASLt where it is found, else by our own tiled kernel.
#pragma once

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

// Elements (i,j) at data[i*row + j*col], of a stored type; one of the strides is 1.
struct Matrix {
    const void *data;
    int32_t dtype;
    int64_t row;
    int64_t col;
};

// c (m,n) (+)= a (m,k) b (k,n), rows of c adjacent. compute MEFT_BF16 rounds a and b to bf16; sums are in f32, and
// rounded once where c is bf16, which only products in bf16 give. a is f32 or bf16.
struct Product {
    Activation c;
    Matrix a;
    Matrix b;
    int64_t m;
    int64_t n;
    int64_t k;
    int32_t compute;
    bool accumulate;
    // (n), added to every row of c, by cuBLASLt alone (multiply_by_cublaslt); or null.
    const void *bias = nullptr;
    int32_t bias_dtype = MEFT_F32;
};

// Pointers are the device's. Without the bias.
void multiply(meft_ctx &lane, Operands &on, const Product &product);

}  // namespace cuda
}  // namespace meft
