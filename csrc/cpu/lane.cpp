// SPDX-License-Identifier: Apache-2.0
// Lanes of libmeft: threads of the one pool, and the kernels of an instruction set.
#include "core/lane.h"

#include <cstring>

#include "core/guard.h"
#include "core/pool.h"
#include "cpu/onednn.h"
#include "cpu/targets.h"

namespace meft {

namespace {

constexpr int32_t kMostThreads = 4096;
constexpr int64_t kZeroChunk = 1 << 20;

std::string target_list(bool (*wanted)(const Target &)) {
    std::string list;
    for (const Target &target : all_targets()) {
        if (!wanted(target)) continue;
        if (!list.empty()) list += ",";
        list += std::string("\"") + target.name + "\"";
    }
    return "[" + list + "]";
}

[[noreturn]] void fail_no_device() {
    fail(MEFT_UNSUPPORTED, "this library has no device: its memory is the host's own");
}

}  // namespace

void open_lane(meft_ctx &ctx, const meft_ctx_params &params) {
    const Target *target = target_of(params.target);
    if (target == nullptr) {
        fail(MEFT_UNSUPPORTED, "target %s is not in this build or not on this machine", target_name(params.target));
    }
    if (params.threads < 0 || params.threads > kMostThreads) {
        fail(MEFT_INVALID, "threads is %d, expected 0 (all cores) to %d", params.threads, kMostThreads);
    }
    ctx.target = target->number;
    if (params.gemm != MEFT_GEMM_OWN && params.gemm != MEFT_GEMM_ONEDNN) {
        fail(MEFT_INVALID, "gemm is %d, expected MEFT_GEMM_OWN or MEFT_GEMM_ONEDNN", params.gemm);
    }
    if (params.gemm == MEFT_GEMM_ONEDNN && onednn_missing() != nullptr) {
        fail(MEFT_UNSUPPORTED,
             "matrix products by oneDNN are not available (%s): install the package libdnnl-dev and build again",
             onednn_missing());
    }
    ctx.gemm = params.gemm;
    ctx.kernels = params.gemm == MEFT_GEMM_ONEDNN ? onednn_table(target->number) : &target->kernels->table;
    const int32_t threads = params.threads > 0 ? params.threads : usable_cores();
    if (threads > 1) pool_acquire(threads);  // last: what it takes, close_lane gives back
    ctx.threads = threads;
}

void close_lane(meft_ctx &ctx) noexcept {
    if (ctx.threads > 1) pool_release();
}

std::string build_facts() {
    return "\"backend\":\"cpu\",\"machineTargets\":" +
           target_list([](const Target &target) { return target.runs(); }) + ",\"compiledTargets\":" +
           target_list([](const Target &target) { return target.kernels != nullptr; }) + ",\"gemm\":[\"own\"" +
           (onednn_missing() == nullptr ? ",\"onednn\"" : "") +
           "],\"absentKernels\":" + absent_kernels(target_of(MEFT_TARGET_AUTO)->kernels->table);
}

std::string device_facts_text(meft_ctx &) { return "{\"backend\":\"cpu\",\"ledger\":{}}"; }
void *device_reserve(meft_ctx &, int64_t, const char *) { fail_no_device(); }
void device_release(meft_ctx &, void *) { fail_no_device(); }
void *pinned_reserve(meft_ctx &, int64_t) { fail_no_device(); }
void pinned_release(meft_ctx &, void *) { fail_no_device(); }

// Host memory is at once the device's: calls are done when they return.
void copy_bytes(meft_ctx &, void *to, const void *from, int64_t bytes) {
    if (bytes > 0) std::memmove(to, from, size_t(bytes));
}
void zero_bytes(meft_ctx &ctx, void *to, int64_t bytes) {
    parallel_chunks(ctx, bytes, kZeroChunk, [to](int64_t begin, int64_t end, int32_t) {
        std::memset(static_cast<char *>(to) + begin, 0, size_t(end - begin));
    });
}
void wait_for_lane(meft_ctx &) {}
int64_t event_create(bool) { return 1; }
void event_destroy(int64_t) {}
void event_record(meft_ctx &, int64_t) {}
void event_lane_waits(meft_ctx &, int64_t) {}
void event_host_waits(int64_t) {}
bool event_done(int64_t) { return true; }
double event_elapsed_ms(int64_t, int64_t) { return 0; }
void reset_device_peaks() {}

}  // namespace meft
