// SPDX-License-Identifier: Apache-2.0
#include "cuda/fused_attention.h"

#include <cstdlib>

namespace meft {
namespace cuda {

AttentionChoice attention_choice() {
    const char *text = std::getenv("MEFT_ATTENTION");
    const std::string name = text != nullptr ? text : "";
    if (name.empty() || name == "auto") return AttentionChoice::automatic;
    if (name == "own") return AttentionChoice::own;
    if (name == "fused") return AttentionChoice::fused;
    fail(MEFT_INVALID, "MEFT_ATTENTION is \"%s\", expected auto, own or fused", name.c_str());
}

}  // namespace cuda
}  // namespace meft
