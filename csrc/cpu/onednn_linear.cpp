// SPDX-License-Identifier: Apache-2.0
// Linear layers of a lane whose products are oneDNN's, but for those that it does not take.
#include <map>

#include "cpu/onednn.h"
#include "cpu/targets.h"

namespace meft {

namespace {

const TargetKernels &own(const meft_ctx &lane) { return *target_of(lane.target)->kernels; }

// A weight, and an activation (rows apart by its columns), as oneDNN sees them; transposed swaps the two indices.
OnednnMatrix onednn_matrix(const StoredWeight &w, bool transposed) {
    return transposed ? OnednnMatrix{w.data, 1, w.stride, w.dtype} : OnednnMatrix{w.data, w.stride, 1, w.dtype};
}
OnednnMatrix onednn_matrix(ConstActivation x, int64_t cols, bool transposed) {
    return onednn_matrix(StoredWeight{x.data, 0, cols, cols, x.dtype}, transposed);
}

// oneDNN writes f32: results in bf16 are our own kernels'.
float *f32_result(Activation y) { return y.dtype == MEFT_F32 ? static_cast<float *>(y.data) : nullptr; }

// y (+)= x w^T + bias.
void forward(meft_ctx &lane, Activation y, ConstActivation x, const StoredWeight &w, const StoredWeight &bias,
             int64_t tokens, int32_t compute, bool accumulate) {
    float *to = f32_result(y);
    if (to == nullptr || !onednn_takes(w.dtype, tokens, w.rows, w.cols)) {
        own(lane).table.linear->forward(lane, y, x, w, bias, tokens, compute, accumulate);
        return;
    }
    onednn_multiply(lane, {to, w.rows, onednn_matrix(x, w.cols, false), onednn_matrix(w, true), tokens, w.rows, w.cols,
                           compute, accumulate, 0});
    if (bias.data != nullptr) own(lane).add_bias(lane, to, bias, tokens);
}

// dx (+)= dy w.
void backward_data(meft_ctx &lane, Activation dx, ConstActivation dy, const StoredWeight &w, int64_t tokens,
                   int32_t compute, bool accumulate) {
    float *to = f32_result(dx);
    if (to == nullptr || !onednn_takes(w.dtype, tokens, w.cols, w.rows)) {
        own(lane).table.linear->backward_data(lane, dx, dy, w, tokens, compute, accumulate);
        return;
    }
    onednn_multiply(lane, {to, w.cols, onednn_matrix(dy, w.rows, false), onednn_matrix(w, false), tokens, w.cols,
                           w.rows, compute, accumulate, 0});
}

// dweight += dy^T x.
void backward_weight(meft_ctx &lane, float *dweight, ConstActivation dy, ConstActivation x, int64_t tokens,
                     int64_t rows, int64_t cols, int32_t compute) {
    if (!onednn_takes(MEFT_F32, rows, cols, tokens)) {
        own(lane).table.linear->backward_weight(lane, dweight, dy, x, tokens, rows, cols, compute);
        return;
    }
    onednn_multiply(lane, {dweight, cols, onednn_matrix(dy, rows, true), onednn_matrix(x, cols, false), rows, cols,
                           tokens, compute, true, 0});
}

// dbias += sum of dy over tokens.
void backward_bias(meft_ctx &lane, float *dbias, ConstActivation dy, int64_t tokens, int64_t rows) {
    own(lane).table.linear->backward_bias(lane, dbias, dy, tokens, rows);
}

const linear_kernels by_onednn = {forward, backward_data, backward_weight, backward_bias};

std::map<int32_t, KernelTable> *make_tables() {
    auto *tables = new std::map<int32_t, KernelTable>();
    for (const Target &target : all_targets()) {
        if (target.kernels == nullptr) continue;
        KernelTable table = target.kernels->table;
        table.linear = &by_onednn;
        tables->emplace(target.number, table);
    }
    return tables;
}

}  // namespace

const KernelTable *onednn_table(int32_t target) {
    static const std::map<int32_t, KernelTable> *const tables = make_tables();  // leaked: nothing runs at unload
    return &tables->at(target);
}

}  // namespace meft
