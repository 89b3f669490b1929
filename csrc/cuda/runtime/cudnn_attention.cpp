// SPDX-License-Identifier: Apache-2.0
// Attention by cuDNN's fused kernels (Flash-Attention-2 form), as graphs of its frontend: one plan a shape and direction.
// A plan that is not deterministic is none: the same seed must give the same bits.
#include "cuda/fused_attention.h"

#include <map>
#include <memory>
#include <tuple>
#include <unordered_map>

#include "cuda/runtime/cudnn_library.h"

namespace meft {
namespace cuda {

namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

// What a step's plan may take besides its tensors.
constexpr int64_t kMostWorkspaceBytes = int64_t(512) << 20;
// Fewer features and wrong gradients for lengths before (the vendor's notes).
constexpr size_t kLeastVersion = 90600;

// Names of tensors in a graph.
enum Uid : int64_t { kQ = 1, kK, kV, kO, kStats, kDO, kDQ, kDK, kDV, kQLengths, kKLengths, kQOffsets, kKOffsets };

struct Plan {
    fe::graph::Graph graph;
    int64_t workspace_bytes = 0;
};

using Key = std::tuple<bool, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, int64_t, float, bool>;

// What a lane keeps: a handle, and a plan or null for each shape that was asked for.
struct Attention {
    cudnnHandle_t handle = nullptr;
    std::map<Key, std::unique_ptr<Plan>> plans;
    std::string refusal;  // of the newest shape without a plan
};

Attention &attention_of(DeviceLane &lane) {
    if (lane.attention == nullptr) {
        auto *fresh = new Attention();
        lane.attention = fresh;
        const cudnnStatus_t made = fe::detail::create_handle(&fresh->handle);
        if (made != CUDNN_STATUS_SUCCESS) fail(MEFT_DEVICE, "cudnnCreate: status %d", int(made));
        const cudnnStatus_t set = cudnn_set_stream(fresh->handle, lane.stream);
        if (set != CUDNN_STATUS_SUCCESS) fail(MEFT_DEVICE, "cudnnSetStream: status %d", int(set));
    }
    return *static_cast<Attention *>(lane.attention);
}

// Describes the tensors of one shape.
class Tensors {
public:
    Tensors(fe::graph::Graph &graph, const FusedShape &shape) : graph_(graph), s_(shape) {
        if (!shape.ragged) return;
        const auto whole = [&](Uid uid, int64_t count) {
            return graph.tensor(fe::graph::Tensor_attributes()
                                    .set_uid(uid)
                                    .set_dim({count, 1, 1, 1})
                                    .set_stride({1, 1, 1, 1})
                                    .set_data_type(fe::DataType_t::INT32));
        };
        q_lengths = whole(kQLengths, shape.batch);
        k_lengths = whole(kKLengths, shape.batch);
        q_offsets_ = whole(kQOffsets, shape.batch + 1);
        k_offsets_ = whole(kKOffsets, shape.batch + 1);
    }

    Tensor q_lengths, k_lengths;

    // (B,H,queries,D) and (B,Hkv,keys,D), stored row after row.
    fe::graph::Tensor_attributes queries() const { return rows(s_.heads, s_.queries, q_offsets_); }
    fe::graph::Tensor_attributes keys() const { return rows(s_.kv_heads, s_.keys, k_offsets_); }
    // (B,H,queries,1) f32, packed.
    fe::graph::Tensor_attributes stats() const {
        return fe::graph::Tensor_attributes()
            .set_dim({s_.batch, s_.heads, s_.queries, 1})
            .set_stride({s_.heads * s_.queries, s_.queries, 1, 1})
            .set_data_type(fe::DataType_t::FLOAT);
    }
    Tensor input(Uid uid, fe::graph::Tensor_attributes like) const { return graph_.tensor(like.set_uid(uid)); }

    // Makes an output lie as `like` says.
    static void lay_out(const Tensor &output, Uid uid, fe::graph::Tensor_attributes like) {
        output->set_output(true).set_uid(uid).set_dim(like.get_dim()).set_stride(like.get_stride());
        output->set_data_type(like.get_data_type());
        if (like.get_ragged_offset() != nullptr) output->set_ragged_offset(like.get_ragged_offset());
    }

    // Masks of both directions: of the past, causal from the last query and key, and a window; and lengths.
    template <class Attributes>
    void mask(Attributes &options) const {
        options.set_attn_scale(s_.scale);
        if (s_.past) {
            options.set_diagonal_alignment(fe::DiagonalAlignment_t::BOTTOM_RIGHT).set_diagonal_band_right_bound(0);
        }
        if (s_.window > 0) options.set_diagonal_band_left_bound(int(s_.window));
        if (s_.ragged) options.set_padding_mask(true).set_seq_len_q(q_lengths).set_seq_len_kv(k_lengths);
    }

private:
    fe::graph::Tensor_attributes rows(int64_t heads, int64_t length, const Tensor &offsets) const {
        auto described = fe::graph::Tensor_attributes()
                             .set_dim({s_.batch, heads, length, s_.head_dim})
                             .set_stride({length * heads * s_.head_dim, s_.head_dim, heads * s_.head_dim, 1})
                             .set_data_type(fe::DataType_t::BFLOAT16);
        if (s_.ragged) described.set_ragged_offset(offsets);
        return described;
    }

    fe::graph::Graph &graph_;
    const FusedShape &s_;
    Tensor q_offsets_, k_offsets_;
};

void describe_forward(fe::graph::Graph &graph, const FusedShape &shape) {
    const Tensors tensors(graph, shape);
    auto options = fe::graph::SDPA_attributes().set_generate_stats(true);
    tensors.mask(options);
    const auto outputs = graph.sdpa(tensors.input(kQ, tensors.queries()), tensors.input(kK, tensors.keys()),
                                    tensors.input(kV, tensors.keys()), options);
    Tensors::lay_out(outputs[0], kO, tensors.queries());
    Tensors::lay_out(outputs[1], kStats, tensors.stats());
}

void describe_backward(fe::graph::Graph &graph, const FusedShape &shape) {
    const Tensors tensors(graph, shape);
    auto options = fe::graph::SDPA_backward_attributes().set_deterministic_algorithm(true);
    tensors.mask(options);
    const auto outputs =
        graph.sdpa_backward(tensors.input(kQ, tensors.queries()), tensors.input(kK, tensors.keys()),
                            tensors.input(kV, tensors.keys()), tensors.input(kO, tensors.queries()),
                            tensors.input(kDO, tensors.queries()), tensors.input(kStats, tensors.stats()), options);
    Tensors::lay_out(outputs[0], kDQ, tensors.queries());
    Tensors::lay_out(outputs[1], kDK, tensors.keys());
    Tensors::lay_out(outputs[2], kDV, tensors.keys());
}

// Null when the library has no deterministic kernel for the shape, with its words in `refusal`.
std::unique_ptr<Plan> make_plan(cudnnHandle_t handle, const FusedShape &shape, Direction direction,
                                std::string &refusal) {
    auto plan = std::make_unique<Plan>();
    fe::graph::Graph &graph = plan->graph;
    graph.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    (direction == Direction::forward ? describe_forward : describe_backward)(graph, shape);
    const auto holds = [&](fe::error_t status) {
        if (status.is_good()) return true;
        refusal = status.get_message();
        return false;
    };
    if (!holds(graph.validate()) || !holds(graph.build_operation_graph(handle)) ||
        !holds(graph.create_execution_plans({fe::HeurMode_t::A}))) {
        return nullptr;
    }
    graph.deselect_numeric_notes({fe::NumericalNote_t::NONDETERMINISTIC});
    if (!holds(graph.check_support(handle)) || !holds(graph.build_plans(handle))) return nullptr;
    if (!holds(graph.get_workspace_size(plan->workspace_bytes))) return nullptr;
    if (plan->workspace_bytes <= kMostWorkspaceBytes) return plan;
    refusal = "its plan takes " + std::to_string(plan->workspace_bytes >> 20) + " MiB of workspace";
    return nullptr;
}

Plan *plan_of(meft_ctx &lane, const FusedShape &s, Direction direction) {
    Attention &attention = attention_of(*lane.device);
    const Key key(direction == Direction::backward, s.batch, s.heads, s.kv_heads, s.head_dim, s.queries, s.keys,
                  s.past, s.window, s.scale, s.ragged);
    auto known = attention.plans.find(key);
    if (known == attention.plans.end()) {
        std::unique_ptr<Plan> plan;
        try {
            plan = make_plan(attention.handle, s, direction, attention.refusal);
        } catch (const std::exception &error) {  // of the frontend: a plan that it cannot make is refused
            attention.refusal = error.what();
        }
        known = attention.plans.emplace(key, std::move(plan)).first;
    }
    return known->second.get();
}

void run(meft_ctx &lane, Operands &on, const FusedShape &shape, Direction direction,
         std::unordered_map<int64_t, void *> tensors) {
    Plan *plan = plan_of(lane, shape, direction);
    if (plan == nullptr) fail(MEFT_INTERNAL, "attention was to be fused, and has no plan");
    char *workspace = on.scratch<char>(plan->workspace_bytes);
    fe::error_t status = plan->graph.execute(attention_of(*lane.device).handle, tensors, workspace);
    if (status.is_bad()) fail(MEFT_DEVICE, "cuDNN's attention: %s", status.get_message().c_str());
}

template <class T>
void *address(const T *data) {
    return const_cast<void *>(static_cast<const void *>(data));
}

std::unordered_map<int64_t, void *> common_tensors(const FusedShape &shape, const FusedArrays &a) {
    std::unordered_map<int64_t, void *> tensors = {{kQ, address(a.q)},
                                                   {kK, address(a.k)},
                                                   {kV, address(a.v)},
                                                   {kO, address(a.o)},
                                                   {kStats, address(a.stats)}};
    if (!shape.ragged) return tensors;
    tensors[kQLengths] = address(a.q_lengths);
    tensors[kKLengths] = address(a.k_lengths);
    tensors[kQOffsets] = address(a.q_offsets);
    tensors[kKOffsets] = address(a.k_offsets);
    return tensors;
}

// Why cuDNN cannot be used at all; empty when it can.
std::string obstacle() {
    if (attention_choice() == AttentionChoice::own) return "MEFT_ATTENTION is own";
    if (!cudnn_opened()) return cudnn_missing();
    if (fe::detail::get_backend_version() < kLeastVersion) return "cuDNN " + cudnn_version() + " is older than 9.6";
    return "";
}

}  // namespace

bool can_fuse(meft_ctx &lane, const FusedShape &shape, Direction direction) {
    static const bool usable = obstacle().empty();
    return usable && plan_of(lane, shape, direction) != nullptr;
}

void fused_forward(meft_ctx &lane, Operands &on, const FusedShape &shape, const FusedArrays &arrays) {
    run(lane, on, shape, Direction::forward, common_tensors(shape, arrays));
}

void fused_backward(meft_ctx &lane, Operands &on, const FusedShape &shape, const FusedArrays &arrays) {
    std::unordered_map<int64_t, void *> tensors = common_tensors(shape, arrays);
    tensors[kDO] = address(arrays.d_o);
    tensors[kDQ] = address(arrays.dq);
    tensors[kDK] = address(arrays.dk);
    tensors[kDV] = address(arrays.dv);
    run(lane, on, shape, Direction::backward, std::move(tensors));
}

std::string attention_provider() {
    const std::string why = obstacle();
    return why.empty() ? "cuDNN " + cudnn_version() + " where it has a deterministic kernel" : "own kernels: " + why;
}

void release_attention(DeviceLane &lane) noexcept {
    if (lane.attention == nullptr) return;
    auto *attention = static_cast<Attention *>(lane.attention);
    attention->plans.clear();
    if (attention->handle != nullptr) fe::detail::destroy_handle(attention->handle);
    delete attention;
    lane.attention = nullptr;
}

}  // namespace cuda
}  // namespace meft
