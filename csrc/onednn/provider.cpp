// SPDX-License-Identifier: Apache-2.0
// Matrix products by oneDNN 2.x or 3.x, weights as stored (no packed copies).
#include "onednn/provider.h"

#include <omp.h>

#include <cstdio>
#include <dnnl.hpp>
#include <exception>
#include <unordered_map>

#include "meft.h"

namespace {

using dnnl::memory;
using meft::OnednnMatrix;
using meft::OnednnProduct;

dnnl::engine &cpu() {
    static dnnl::engine *engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);  // leaked: nothing runs at unload
    return *engine;
}

memory::data_type type_of(int32_t dtype) {
    return dtype == MEFT_F32 ? memory::data_type::f32 : memory::data_type::bf16;
}

// x as an operand of the computed type: as it lies, or converted into scratch (which is advanced).
memory operand(const OnednnMatrix &x, int64_t rows, int64_t columns, int32_t compute, char *&scratch,
               dnnl::stream &stream) {
    const memory::desc stored({rows, columns}, type_of(x.dtype), {x.row_stride, x.column_stride});
    memory from(stored, cpu(), const_cast<void *>(x.data));
    if (x.dtype == compute) return from;
    // The same order of loops as stored, without gaps.
    const bool by_rows = x.column_stride == 1;
    const memory::desc dense({rows, columns}, type_of(compute),
                             by_rows ? memory::dims{columns, 1} : memory::dims{1, rows});
    memory to(dense, cpu(), scratch);
    scratch += meft::onednn_copy_bytes(x, rows * columns, compute);
    dnnl::reorder(from, to).execute(stream, from, to);
    return to;
}

dnnl::matmul::primitive_desc describe(const memory::desc &a, const memory::desc &b, const memory::desc &c,
                                      bool accumulate) {
    dnnl::primitive_attr attributes;
    if (accumulate) {
        dnnl::post_ops sum;
        sum.append_sum(1.f);
        attributes.set_post_ops(sum);
    }
#if DNNL_VERSION_MAJOR >= 3
    return dnnl::matmul::primitive_desc(cpu(), a, b, c, attributes);
#else
    return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, cpu());
#endif
}

void multiply(const OnednnProduct &p, void *scratch) {
    omp_set_num_threads(p.threads);
    dnnl::stream stream(cpu());
    char *free = static_cast<char *>(scratch);
    const memory a = operand(p.a, p.m, p.k, p.compute, free, stream);
    const memory b = operand(p.b, p.k, p.n, p.compute, free, stream);
    const memory c(memory::desc({p.m, p.n}, memory::data_type::f32, {p.ldc, 1}), cpu(), p.c);
    // Descriptions and code are kept by oneDNN's own cache: the second call of a shape costs some microseconds.
    const dnnl::matmul primitive(describe(a.get_desc(), b.get_desc(), c.get_desc(), p.accumulate != 0));
    primitive.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream.wait();
}

}  // namespace

extern "C" MEFT_API int32_t meft_onednn_multiply(const OnednnProduct *product, void *scratch, char *error,
                                                 int64_t error_bytes) {
    try {
        multiply(*product, scratch);
        return 0;
    } catch (const std::exception &failure) {
        std::snprintf(error, static_cast<size_t>(error_bytes), "%s", failure.what());
    } catch (...) {
        std::snprintf(error, static_cast<size_t>(error_bytes), "unknown failure");
    }
    return 1;
}
