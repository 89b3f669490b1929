// SPDX-License-Identifier: Apache-2.0
// Memory of a device, copies, and events.
#include <cstring>

#include "core/guard.h"
#include "core/lane.h"

using namespace meft;

namespace {

void *address_of(int64_t address) { return reinterpret_cast<void *>(static_cast<intptr_t>(address)); }
int64_t number_of(void *address) { return static_cast<int64_t>(reinterpret_cast<intptr_t>(address)); }

}  // namespace

extern "C" {

int64_t meft_device_facts(meft_ctx *ctx, char *out, int64_t out_bytes) {
    if (ctx == nullptr) return copy_text("the context is null", out, out_bytes);
    if (!enter(ctx)) return copy_text("the context has a call in flight", out, out_bytes);
    Call call(ctx);
    try {
        return copy_text(device_facts_text(*ctx), out, out_bytes);
    } catch (...) {
        record_failure(ctx, "device_facts");
        return copy_text(ctx->error, out, out_bytes);
    }
}

meft_status meft_device_reset_peaks(meft_ctx *ctx) {
    return guarded(ctx, "device_reset_peaks", [] { reset_device_peaks(); });
}

meft_status meft_device_reserve(meft_ctx *ctx, int64_t *address, int64_t bytes, const uint8_t *class_name) {
    return guarded(ctx, "device_reserve", [&] {
        check_array("address", address, 1);
        check_array("class_name", class_name, 1);
        address[0] = number_of(device_reserve(*ctx, bytes, reinterpret_cast<const char *>(class_name)));
    });
}

meft_status meft_device_release(meft_ctx *ctx, int64_t address) {
    return guarded(ctx, "device_release", [&] {
        wait_for_lane(*ctx);
        device_release(*ctx, address_of(address));
    });
}

meft_status meft_pinned_reserve(meft_ctx *ctx, int64_t *address, int64_t bytes) {
    return guarded(ctx, "pinned_reserve", [&] {
        check_array("address", address, 1);
        address[0] = number_of(pinned_reserve(*ctx, bytes));
    });
}

meft_status meft_pinned_release(meft_ctx *ctx, int64_t address) {
    return guarded(ctx, "pinned_release", [&] {
        wait_for_lane(*ctx);
        pinned_release(*ctx, address_of(address));
    });
}

meft_status meft_copy(meft_ctx *ctx, void *to, const void *from, int64_t bytes) {
    return guarded(ctx, "copy", [&] {
        check_count("bytes", bytes);
        check_array("to", to, bytes);
        check_array("from", from, bytes);
        copy_bytes(*ctx, to, from, bytes);
    });
}

meft_status meft_zero(meft_ctx *ctx, void *to, int64_t bytes) {
    return guarded(ctx, "zero", [&] {
        check_count("bytes", bytes);
        check_array("to", to, bytes);
        zero_bytes(*ctx, to, bytes);
    });
}

meft_status meft_synchronize(meft_ctx *ctx) {
    return guarded(ctx, "synchronize", [&] { wait_for_lane(*ctx); });
}

meft_status meft_event_create(meft_ctx *ctx, int64_t *event, int32_t timed) {
    return guarded(ctx, "event_create", [&] {
        check_array("event", event, 1);
        event[0] = event_create(timed != 0);
    });
}

meft_status meft_event_destroy(meft_ctx *ctx, int64_t event) {
    return guarded(ctx, "event_destroy", [&] { event_destroy(event); });
}

meft_status meft_event_record(meft_ctx *ctx, int64_t event) {
    return guarded(ctx, "event_record", [&] { event_record(*ctx, event); });
}

meft_status meft_event_lane_waits(meft_ctx *ctx, int64_t event) {
    return guarded(ctx, "event_lane_waits", [&] { event_lane_waits(*ctx, event); });
}

meft_status meft_event_host_waits(meft_ctx *ctx, int64_t event) {
    return guarded(ctx, "event_host_waits", [&] { event_host_waits(event); });
}

meft_status meft_event_query(meft_ctx *ctx, int32_t *done, int64_t event) {
    return guarded(ctx, "event_query", [&] {
        check_array("done", done, 1);
        done[0] = event_done(event) ? 1 : 0;
    });
}

meft_status meft_event_elapsed(meft_ctx *ctx, double *ms, int64_t begin, int64_t end) {
    return guarded(ctx, "event_elapsed", [&] {
        check_array("ms", ms, 1);
        ms[0] = event_elapsed_ms(begin, end);
    });
}

}  // extern "C"
