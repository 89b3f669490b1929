// SPDX-License-Identifier: Apache-2.0
// Row-major products through cuBLASLt, which is column-major: c^T = b^T a^T, so nothing is transposed in memory.
#include <map>
#include <tuple>

#include "cuda/cublaslt.h"
#include "cuda/runtime/cublaslt_library.h"

namespace meft {
namespace cuda {

namespace {

constexpr int64_t kWorkspaceBytes = int64_t(32) << 20;  // the vendor's advice for Hopper and later

// How one operand lies: lines of adjacent elements.
struct Stored {
    const void *data;
    int32_t dtype;
    int64_t lines;
    int64_t width;
    int64_t stride;
    bool transposed;  // as cuBLASLt sees it
};

using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int, int, bool, bool, int, bool, bool>;

// What a lane keeps between products.
struct Products {
    void *handle = nullptr;
    void *workspace = nullptr;
    std::map<Key, LtAlgorithm> algorithms;
};

void check(int status, const char *what) {
    if (status != 0) fail(MEFT_DEVICE, "%s: %s", what, cublaslt()->status_text(status));
}

Products &products_of(DeviceLane &lane) {
    if (lane.products == nullptr) {
        auto *fresh = new Products();
        lane.products = fresh;
        check(cublaslt()->create(&fresh->handle), "cublasLtCreate");
        fresh->workspace = take_workspace(lane.stream, kWorkspaceBytes);
    }
    return *static_cast<Products *>(lane.products);
}

template <class To, class From>
__global__ void cast_kernel(To *to, const From *from, int64_t count, int64_t width, int64_t stride) {
    MEFT_FOR_EACH(i, count) store_element(to + i, load_element(from + i / width * stride + i % width));
}

template <class To>
void cast(Operands &on, Stored &x, int32_t dtype) {
    const int64_t count = x.lines * x.width;
    To *to = on.scratch<To>(count);
    with_elements(x.data, x.dtype, [&](auto *from) {
        MEFT_LAUNCH((cast_kernel<To, Element<decltype(from)>>), grid_of(count), kThreads, 0, on.stream, to, from, count,
                    x.width, x.stride);
    });
    x = {to, dtype, x.lines, x.width, x.width, x.transposed};
}

// In the type of the product.
void bring_to(Operands &on, Stored &x, int32_t compute) {
    if (x.dtype == compute) return;
    if (compute == MEFT_BF16)
        cast<__nv_bfloat16>(on, x, MEFT_BF16);
    else
        cast<float>(on, x, MEFT_F32);
}

int alignment_of(const void *data, int64_t stride, int64_t element_bytes) {
    const uintptr_t bits = reinterpret_cast<uintptr_t>(data) | uintptr_t(stride * element_bytes);
    return bits % 16 == 0 ? 16 : bits % 8 == 0 ? 8 : bits % 4 == 0 ? 4 : 2;
}

// Objects of one call, given back however it ends.
struct Objects {
    const LtFunctions &lt = *cublaslt();
    void *desc = nullptr, *a = nullptr, *b = nullptr, *c = nullptr, *preference = nullptr;
    ~Objects() {
        if (desc != nullptr) lt.desc_destroy(desc);
        for (void *layout : {a, b, c}) {
            if (layout != nullptr) lt.layout_destroy(layout);
        }
        if (preference != nullptr) lt.preference_destroy(preference);
    }
};

void describe(Objects &objects, const Stored &left, const Stored &right, const Product &p) {
    const LtFunctions &lt = objects.lt;
    const auto lt_type = [](int32_t dtype) { return dtype == MEFT_BF16 ? kLtBf16 : kLtF32; };
    const auto type = lt_type(p.compute);
    check(lt.desc_create(&objects.desc, kLtCompute32F, kLtF32), "cublasLtMatmulDescCreate");
    const int32_t left_op = left.transposed ? kLtTransposed : kLtAsStored;
    const int32_t right_op = right.transposed ? kLtTransposed : kLtAsStored;
    check(lt.desc_set(objects.desc, kLtDescTransA, &left_op, sizeof left_op), "cublasLtMatmulDescSetAttribute");
    check(lt.desc_set(objects.desc, kLtDescTransB, &right_op, sizeof right_op), "cublasLtMatmulDescSetAttribute");
    check(lt.layout_create(&objects.a, type, uint64_t(left.width), uint64_t(left.lines), left.stride),
          "cublasLtMatrixLayoutCreate");
    check(lt.layout_create(&objects.b, type, uint64_t(right.width), uint64_t(right.lines), right.stride),
          "cublasLtMatrixLayoutCreate");
    check(lt.layout_create(&objects.c, lt_type(p.c.dtype), uint64_t(p.n), uint64_t(p.m), p.n),
          "cublasLtMatrixLayoutCreate");
}

// The bias as an epilogue, a part of the sums before they are stored: of the result's type, as the library takes it.
void add_epilogue(Operands &on, Objects &objects, const Product &p) {
    Stored bias = {p.bias, p.bias_dtype, 1, p.n, p.n, false};
    bring_to(on, bias, p.c.dtype);
    const uint32_t epilogue = kLtEpilogueBias;
    check(objects.lt.desc_set(objects.desc, kLtDescEpilogue, &epilogue, sizeof epilogue),
          "cublasLtMatmulDescSetAttribute");
    check(objects.lt.desc_set(objects.desc, kLtDescBias, &bias.data, sizeof bias.data),
          "cublasLtMatmulDescSetAttribute");
}

// The first algorithm that the library proposes: the same for the same card, version and shape. False when there is
// none.
bool choose(Products &products, Objects &objects, const int (&alignments)[3], LtAlgorithm *algorithm) {
    const LtFunctions &lt = objects.lt;
    check(lt.preference_create(&objects.preference), "cublasLtMatmulPreferenceCreate");
    const auto set = [&](int attribute, const void *value, size_t bytes) {
        check(lt.preference_set(objects.preference, attribute, value, bytes), "cublasLtMatmulPreferenceSetAttribute");
    };
    const uint64_t bytes = uint64_t(kWorkspaceBytes);
    set(kLtPreferWorkspaceBytes, &bytes, sizeof bytes);
    const uint32_t align[3] = {uint32_t(alignments[0]), uint32_t(alignments[1]), uint32_t(alignments[2])};
    set(kLtPreferAlignA, &align[0], sizeof(uint32_t));
    set(kLtPreferAlignB, &align[1], sizeof(uint32_t));
    set(kLtPreferAlignC, &align[2], sizeof(uint32_t));
    set(kLtPreferAlignD, &align[2], sizeof(uint32_t));
    LtHeuristic found;
    int count = 0;
    const int status = lt.heuristic(products.handle, objects.desc, objects.a, objects.b, objects.c, objects.c,
                                    objects.preference, 1, &found, &count);
    if (status != 0 || count == 0) return false;
    *algorithm = found.algorithm;
    return true;
}

}  // namespace

bool multiply_by_cublaslt(meft_ctx &lane, Operands &on, const Product &p) {
    if (cublaslt() == nullptr) return false;
    Products &products = products_of(*lane.device);
    // Left of cuBLASLt's product is b: (k,n) row-major is (n,k) column-major, (n,k) row-major must be transposed.
    Stored left = p.b.col == 1 ? Stored{p.b.data, p.b.dtype, p.k, p.n, p.b.row, false}
                               : Stored{p.b.data, p.b.dtype, p.n, p.k, p.b.col, true};
    Stored right = p.a.col == 1 ? Stored{p.a.data, p.a.dtype, p.m, p.k, p.a.row, false}
                                : Stored{p.a.data, p.a.dtype, p.k, p.m, p.a.col, true};
    for (Stored *x : {&left, &right}) {
        if (x->lines == 1) x->stride = x->width;  // a vector: its one line may say anything
        bring_to(on, *x, p.compute);
    }
    const int64_t element = p.compute == MEFT_BF16 ? 2 : 4;
    const int alignments[3] = {alignment_of(left.data, left.stride, element),
                               alignment_of(right.data, right.stride, element),
                               alignment_of(p.c.data, p.n, activation_bytes(p.c.dtype))};
    Objects objects;
    describe(objects, left, right, p);
    if (p.bias != nullptr) add_epilogue(on, objects, p);
    const Key key(p.m, p.n, p.k, left.stride, right.stride, p.compute, p.c.dtype, left.transposed, right.transposed,
                  alignments[0] + 32 * alignments[1] + 1024 * alignments[2], p.accumulate, p.bias != nullptr);
    auto known = products.algorithms.find(key);
    if (known == products.algorithms.end()) {
        LtAlgorithm chosen;
        if (!choose(products, objects, alignments, &chosen)) return false;
        known = products.algorithms.emplace(key, chosen).first;
    }
    const float one = 1.0f, beta = p.accumulate ? 1.0f : 0.0f;
    check(objects.lt.matmul(products.handle, objects.desc, &one, left.data, objects.a, right.data, objects.b, &beta,
                            p.c.data, objects.c, p.c.data, objects.c, &known->second, products.workspace,
                            size_t(kWorkspaceBytes), on.stream),
          "cublasLtMatmul");
    return true;
}

std::string cublaslt_version() {
    if (cublaslt() == nullptr) return "missing: " + cublaslt_missing();
    const size_t version = cublaslt()->version();
    return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
           std::to_string(version % 100);
}

void release_products(DeviceLane &lane) noexcept {
    if (lane.products == nullptr) return;
    auto *products = static_cast<Products *>(lane.products);
    if (products->workspace != nullptr) give_workspace(lane.stream, products->workspace, kWorkspaceBytes);
    if (products->handle != nullptr) cublaslt()->destroy(products->handle);
    delete products;
    lane.products = nullptr;
}

}  // namespace cuda
}  // namespace meft
