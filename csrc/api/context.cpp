// SPDX-License-Identifier: Apache-2.0
// Contexts, error text, build information and mapped files.
#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <new>
#include <thread>

#include "core/guard.h"
#include "core/lane.h"
#include "core/mapping.h"
#include "core/process_memory.h"

using namespace meft;

extern "C" {

uint32_t meft_abi_version(void) { return (uint32_t(MEFT_ABI_MAJOR) << 16) | MEFT_ABI_MINOR; }

int64_t meft_build_info(char *out, int64_t out_bytes) {
    const std::string text = std::string("{\"compiler\":\"") + MEFT_COMPILER + "\",\"revision\":\"" + MEFT_REVISION +
                             "\"," + build_facts() + "}";
    return copy_text(text, out, out_bytes);
}

meft_ctx *meft_ctx_create(const meft_ctx_params *params, char *error, int64_t error_bytes) {
    meft_ctx *ctx = new (std::nothrow) meft_ctx();
    if (ctx == nullptr) {
        copy_text("ctx_create: not enough memory", error, error_bytes);
        return nullptr;
    }
    try {
        check_struct("params", params, sizeof *params);
        open_lane(*ctx, *params);
        return ctx;
    } catch (...) {
        record_failure(ctx, "ctx_create");
        copy_text(ctx->error, error, error_bytes);
    }
    delete ctx;
    return nullptr;
}

void meft_ctx_destroy(meft_ctx *ctx) {
    if (ctx == nullptr) return;
    while (!enter(ctx)) std::this_thread::yield();  // a call in flight ends first
    close_lane(*ctx);
    delete ctx;
}

int64_t meft_error_text(meft_ctx *ctx, char *out, int64_t out_bytes) {
    if (ctx == nullptr) return copy_text("the context is null", out, out_bytes);
    if (!enter(ctx)) return copy_text("the context has a call in flight", out, out_bytes);
    Call call(ctx);
    return copy_text(ctx->error, out, out_bytes);
}

meft_status meft_ctx_info(meft_ctx *ctx, int64_t *info, int64_t info_count) {
    return guarded(ctx, "ctx_info", [&] {
        check_count("info_count", info_count);
        check_array("info", info, info_count);
        constexpr int64_t known = 9 + kParts;
        int64_t all[known] = {ctx->target,     ctx->gemm,     ctx->threads, ctx->workspace.bytes_held(),
                                   ctx->ran_target, mapped_bytes()};
        std::copy(ctx->part_ns, ctx->part_ns + kParts, all + 6);
        if (info_count > 6 + kParts) {
            const ProcessMemory memory = process_memory();
            all[6 + kParts] = memory.limit;
            all[7 + kParts] = memory.limit_bytes;
            all[8 + kParts] = memory.peak_bytes;
        }
        for (int64_t i = 0; i < std::min(known, info_count); ++i) info[i] = all[i];
    });
}

meft_status meft_map_open(meft_ctx *ctx, int64_t *handle_and_bytes, const uint8_t *path) {
    return guarded(ctx, "map_open", [&] {
        check_array("handle_and_bytes", handle_and_bytes, 2);
        check_array("path", path, 1);
        handle_and_bytes[0] = map_file(reinterpret_cast<const char *>(path), &handle_and_bytes[1]);
    });
}

meft_status meft_map_close(meft_ctx *ctx, int64_t handle) {
    if (ctx == nullptr) return MEFT_INVALID;
    if (!enter(ctx)) return MEFT_BUSY;
    meft_status status = MEFT_OK;
    try {
        unmap_file(handle);  // waits for calls on other lanes, so it is not one itself
    } catch (...) {
        status = record_failure(ctx, "map_close");
    }
    ctx->busy.store(false, std::memory_order_release);
    return status;
}

meft_status meft_map_read(meft_ctx *ctx, uint8_t *out, int64_t handle, int64_t offset_bytes, int64_t count_bytes) {
    return guarded(ctx, "map_read", [&] {
        check_array("out", out, count_bytes);
        const char *from = mapped_range(handle, offset_bytes, count_bytes);
        if (count_bytes > 0) std::memcpy(out, from, static_cast<size_t>(count_bytes));
    });
}

}  // extern "C"
