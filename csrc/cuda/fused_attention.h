// SPDX-License-Identifier: Apache-2.0
// Attention by a library's fused kernels, where there is one: cuDNN's on a device (runtime/cudnn_attention.cpp), and in the
// emulation plain loops over the same arrays, so that all around them is tested. kernels/attention_fused.cu brings the
// arrays into their form.
//
// MEFT_ATTENTION chooses: `auto` (the default) is cuDNN on a device and our own kernels in the emulation; `own`; `fused`.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/kernel.h"

namespace meft {
namespace cuda {

// B sequences. `past`: the last query sits at the last key and queries see keys up to their own place, with window > 0 the
// last `window` of those. Else they see all.
struct FusedShape {
    int64_t batch, heads, kv_heads, head_dim;
    int64_t queries, keys;  // of each sequence; when ragged, at most
    bool past;
    int64_t window;
    float scale;
    bool ragged;
};

// bf16 on the device. q, o, d_o and dq are rows of (heads, head_dim), k, v, dk and dv of (kv_heads, head_dim): sequence
// after sequence without padding.
struct FusedArrays {
    const __nv_bfloat16 *q, *k, *v;
    __nv_bfloat16 *o;            // forward writes, backward reads
    float *stats;                // (B, heads, queries) f32, log of the sum of exponentials: likewise. Padding is 0
    const __nv_bfloat16 *d_o;    // backward
    __nv_bfloat16 *dq, *dk, *dv;  // backward
    // When ragged, int32 on the device: (B) lengths, and (B+1) where the sequences begin, in elements.
    const int32_t *q_lengths, *k_lengths, *q_offsets, *k_offsets;
};

// Whether there is such a kernel, and a plan for the shape, made at the first question. A pure function of shape and
// machine: a run that is continued takes the same way again.
enum class Direction { forward, backward };
bool can_fuse(meft_ctx &lane, const FusedShape &shape, Direction direction);
void fused_forward(meft_ctx &lane, Operands &on, const FusedShape &shape, const FusedArrays &arrays);
void fused_backward(meft_ctx &lane, Operands &on, const FusedShape &shape, const FusedArrays &arrays);

// Which attention runs, and why: "cuDNN 9.28.1", or "own kernels: ...".
std::string attention_provider();

// What a lane holds for it; given back when the lane closes.
void release_attention(DeviceLane &lane) noexcept;

// What MEFT_ATTENTION says.
enum class AttentionChoice { automatic, own, fused };
AttentionChoice attention_choice();

}  // namespace cuda
}  // namespace meft
