// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/context.h"

namespace meft {

struct sparse_route_kernels {
    // experts and expert_tokens both null: the logits alone.
    void (*route)(meft_ctx &lane, float *logits, int32_t *experts, int32_t *expert_tokens, const float *h,
                  const float *gate_weight, const meft_sparse &params);
};
constexpr const char *sparse_route_names[] = {"route"};

}  // namespace meft
