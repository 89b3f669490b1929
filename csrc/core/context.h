// SPDX-License-Identifier: Apache-2.0
// A context is one lane: its target, its error text, its workspace. At most one call is in flight.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "core/workspace.h"
#include "meft.h"

namespace meft {
struct KernelTable;
struct DeviceLane;
}  // namespace meft

// Parts of the sparse adapter's calls whose time is kept, in the order of meft_ctx_info.
enum MeftPart {
    kPartScores,
    kPartValues,
    kPartScoreGradients,
    kPartInputGradients,
    kPartRouterGradients,
    kPartRowGradients,
    kPartRowSteps,
    kParts
};

struct meft_ctx {
    std::atomic<bool> busy{false};
    std::string error;
    int32_t target = MEFT_TARGET_AUTO;  // chosen, never AUTO
    int32_t gemm = MEFT_GEMM_OWN;
    int32_t threads = 1;
    int32_t ran_target = MEFT_TARGET_AUTO;  // written by a kernel itself, so tests can see what ran
    const meft::KernelTable *kernels = nullptr;
    meft::Workspace workspace;
    meft::DeviceLane *device = nullptr;  // of a lane that is a device's
    int64_t lap_ns = 0;  // a moment inside the last call, by take_lap
    int64_t part_ns[kParts] = {};
};

namespace meft {

// Nanoseconds of a steady clock.
int64_t now_ns();
// Notes the moment at which one part of a call ends and the next begins, for whoever accounts for them.
void take_lap(meft_ctx &ctx);

}  // namespace meft
