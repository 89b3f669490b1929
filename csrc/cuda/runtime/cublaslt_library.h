// SPDX-License-Identifier: Apache-2.0
// The few functions and numbers of cuBLASLt that products need, declared here so that building needs no cuBLAS; they
// are part of its stable ABI, and checked against its header where that is found (cublaslt_library.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace meft {
namespace cuda {

struct LtAlgorithm {
    uint64_t data[8];
};
struct LtHeuristic {
    LtAlgorithm algorithm;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
};

constexpr int kLtF32 = 0, kLtBf16 = 14;  // cudaDataType
constexpr int kLtCompute32F = 68;        // without TF32
constexpr int kLtAsStored = 0, kLtTransposed = 1;
constexpr int kLtDescTransA = 3, kLtDescTransB = 4, kLtDescEpilogue = 7, kLtDescBias = 8;
constexpr int kLtEpilogueBias = 4;
constexpr int kLtPreferWorkspaceBytes = 1, kLtPreferReduction = 3, kLtPreferAlignA = 5, kLtPreferAlignB = 6,
              kLtPreferAlignC = 7, kLtPreferAlignD = 8;

// Opaque objects by address. Every function returns 0 for success.
struct LtFunctions {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    size_t (*version)();
    const char *(*status_text)(int status);
    int (*desc_create)(void **desc, int compute, int scale_type);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t bytes);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*layout_destroy)(void *layout);
    int (*preference_create)(void **preference);
    int (*preference_destroy)(void *preference);
    int (*preference_set)(void *preference, int attribute, const void *value, size_t bytes);
    int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference, int wanted,
                     LtHeuristic *found, int *count);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b,
                  void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                  const LtAlgorithm *algorithm, void *workspace, size_t workspace_bytes, void *stream);
};

// Null when there is no cuBLASLt; then cublaslt_missing says why. Opened once, never closed.
const LtFunctions *cublaslt();
const std::string &cublaslt_missing();

}  // namespace cuda
}  // namespace meft
