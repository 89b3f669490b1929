// SPDX-License-Identifier: Apache-2.0
#include "core/context.h"

#include <chrono>

namespace meft {

int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

void take_lap(meft_ctx &ctx) { ctx.lap_ns = now_ns(); }

}  // namespace meft
