// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/cublaslt_library.h"

#include <dlfcn.h>

#include "cuda/runtime/library_search.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
static_assert(sizeof(meft::cuda::LtAlgorithm) == sizeof(cublasLtMatmulAlgo_t), "cublasLtMatmulAlgo_t");
static_assert(sizeof(meft::cuda::LtHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t), "heuristic result");
static_assert(meft::cuda::kLtF32 == CUDA_R_32F && meft::cuda::kLtBf16 == CUDA_R_16BF, "types");
static_assert(meft::cuda::kLtCompute32F == CUBLAS_COMPUTE_32F, "compute type");
static_assert(meft::cuda::kLtAsStored == CUBLAS_OP_N && meft::cuda::kLtTransposed == CUBLAS_OP_T, "operations");
static_assert(meft::cuda::kLtDescTransA == CUBLASLT_MATMUL_DESC_TRANSA, "TRANSA");
static_assert(meft::cuda::kLtDescTransB == CUBLASLT_MATMUL_DESC_TRANSB, "TRANSB");
static_assert(meft::cuda::kLtDescEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE, "EPILOGUE");
static_assert(meft::cuda::kLtDescBias == CUBLASLT_MATMUL_DESC_BIAS_POINTER, "BIAS_POINTER");
static_assert(meft::cuda::kLtEpilogueBias == CUBLASLT_EPILOGUE_BIAS, "EPILOGUE_BIAS");
static_assert(meft::cuda::kLtPreferWorkspaceBytes == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, "workspace");
static_assert(meft::cuda::kLtPreferReduction == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, "reduction");
static_assert(meft::cuda::kLtPreferAlignA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, "alignment of a");
static_assert(meft::cuda::kLtPreferAlignD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, "alignment of d");
#endif

namespace meft {
namespace cuda {

namespace {

struct Library {
    LtFunctions functions{};
    bool complete = false;
    std::string missing;
};

template <class F>
bool find(void *library, F &function, const char *name) {
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
}

bool find_all(void *library, LtFunctions &f) {
    return find(library, f.create, "cublasLtCreate") && find(library, f.destroy, "cublasLtDestroy") &&
           find(library, f.version, "cublasLtGetVersion") && find(library, f.status_text, "cublasLtGetStatusString") &&
           find(library, f.desc_create, "cublasLtMatmulDescCreate") &&
           find(library, f.desc_destroy, "cublasLtMatmulDescDestroy") &&
           find(library, f.desc_set, "cublasLtMatmulDescSetAttribute") &&
           find(library, f.layout_create, "cublasLtMatrixLayoutCreate") &&
           find(library, f.layout_destroy, "cublasLtMatrixLayoutDestroy") &&
           find(library, f.preference_create, "cublasLtMatmulPreferenceCreate") &&
           find(library, f.preference_destroy, "cublasLtMatmulPreferenceDestroy") &&
           find(library, f.preference_set, "cublasLtMatmulPreferenceSetAttribute") &&
           find(library, f.heuristic, "cublasLtMatmulAlgoGetHeuristic") && find(library, f.matmul, "cublasLtMatmul");
}

const Library *open_library() {
    Library *library = new Library();
    const FoundLibrary found = find_library({"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"});
    library->missing = found.missing;
    if (found.handle == nullptr) return library;
    library->complete = find_all(found.handle, library->functions);
    if (!library->complete) library->missing = "the cuBLASLt that was found lacks a function";
    return library;
}

const Library &library() {
    static const Library *const opened = open_library();
    return *opened;
}

}  // namespace

const LtFunctions *cublaslt() { return library().complete ? &library().functions : nullptr; }
const std::string &cublaslt_missing() { return library().missing; }

}  // namespace cuda
}  // namespace meft
