// SPDX-License-Identifier: Apache-2.0
// Lanes of the CUDA libraries: one stream each, of device 0.
#include "cuda/lane.h"

#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "core/guard.h"
#include "core/lane.h"
#include "cuda/cublaslt.h"
#include "cuda/fused_attention.h"
#include "cuda/memory.h"

namespace meft {

using namespace cuda;

namespace {

const char *const kBackend = kTarget == MEFT_TARGET_CUDA ? "cuda" : "cuda-emulated";
const char *const kTargetName = kTarget == MEFT_TARGET_CUDA ? "cuda" : "cuda_emulated";

const char *presence_name(Presence presence) {
    switch (presence) {
        case Presence::present: return "present";
        case Presence::no_device: return "no-device";
        case Presence::driver_missing: return "driver-missing";
        case Presence::driver_too_old: return "driver-too-old";
        default: return "broken";
    }
}

std::string quoted(const std::string &text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (c >= ' ') out += c;
    }
    return out + "\"";
}

// A wrong choice is told here too, and stops a lane from being opened.
std::string attention_text() {
    try {
        return attention_provider();
    } catch (const Failure &failure) {
        return failure.text;
    }
}

std::string describe(const DeviceFacts &facts) {
    return "\"presence\":" + quoted(presence_name(facts.presence)) + ",\"text\":" + quoted(facts.text) +
           ",\"name\":" + quoted(facts.name) + ",\"architecture\":" + quoted(facts.architecture) +
           ",\"driver\":" + quoted(facts.driver) + ",\"runtime\":" + quoted(facts.runtime) +
           ",\"memoryBytes\":" + std::to_string(facts.memory_bytes) +
           ",\"copyEngines\":" + std::to_string(facts.copy_engines) +
           ",\"multiprocessors\":" + std::to_string(facts.multiprocessors) +
           ",\"cublasLt\":" + quoted(cublaslt_version()) +
           ",\"attention\":" + quoted(attention_text());
}

// Events by number; a number is never used again.
struct Events {
    std::mutex mutex;
    std::map<int64_t, cuda::Event> all;
    int64_t last = 0;
};
Events &events() {
    static Events *const all = new Events();
    return *all;
}
cuda::Event event_of(int64_t number) {
    Events &known = events();
    std::lock_guard<std::mutex> hold(known.mutex);
    const auto found = known.all.find(number);
    if (found == known.all.end()) fail(MEFT_INVALID, "event %lld is not one", static_cast<long long>(number));
    return found->second;
}

}  // namespace

void open_lane(meft_ctx &ctx, const meft_ctx_params &params) {
    if (params.target != MEFT_TARGET_AUTO && params.target != kTarget) {
        fail(MEFT_UNSUPPORTED, "target %d is not a device's: this library has %s only", params.target, kTargetName);
    }
    if (params.gemm != MEFT_GEMM_OWN) fail(MEFT_INVALID, "gemm is %d, which a device does not have", params.gemm);
    if (params.stream != MEFT_STREAM_WORK && params.stream != MEFT_STREAM_COPIES) {
        fail(MEFT_INVALID, "stream is %d, expected MEFT_STREAM_WORK or MEFT_STREAM_COPIES", params.stream);
    }
    const DeviceFacts facts = device_facts();
    if (facts.presence != Presence::present) {
        fail(MEFT_DEVICE, "no CUDA device (%s): %s", presence_name(facts.presence), facts.text.c_str());
    }
    attention_choice();
    ctx.kernels = &kernel_table();
    ctx.target = kTarget;
    ctx.threads = 1;
    auto device = std::make_unique<DeviceLane>();
    device->stream = create_stream(params.stream == MEFT_STREAM_COPIES);
    ctx.device = device.release();
}

void close_lane(meft_ctx &ctx) noexcept {
    if (ctx.device == nullptr) return;
    release_attention(*ctx.device);
    release_products(*ctx.device);
    destroy_stream(ctx.device->stream);
    delete ctx.device;
}

std::string build_facts() {
    return std::string("\"backend\":\"") + kBackend + "\",\"machineTargets\":[\"" + kTargetName +
           "\"],\"compiledTargets\":[\"" + kTargetName +
           "\"],\"gemm\":[\"own\"],\"absentKernels\":" + absent_kernels(kernel_table()) + ",\"device\":{" +
           describe(device_facts()) + "}";
}

std::string device_facts_text(meft_ctx &) {
    return std::string("{\"backend\":\"") + kBackend + "\"," + describe(device_facts()) +
           ",\"freeBytes\":" + std::to_string(free_device_bytes()) + ",\"ledger\":" + ledger_text() +
           ",\"refused\":" + refused_text() + "}";
}

void *device_reserve(meft_ctx &, int64_t bytes, const char *class_name) { return reserve_shadow(bytes, class_name); }
void device_release(meft_ctx &, void *address) { release_shadow(address); }
void *pinned_reserve(meft_ctx &, int64_t bytes) { return reserve_pinned(bytes); }
void pinned_release(meft_ctx &, void *address) { release_pinned_block(address); }

void copy_bytes(meft_ctx &ctx, void *to, const void *from, int64_t bytes) {
    if (bytes == 0) return;
    void *device_to = device_address(to, bytes);
    const void *device_from = device_address(from, bytes);
    const cudaStream_t stream = ctx.device->stream;
    if (device_to == nullptr && device_from == nullptr) fail(MEFT_INVALID, "to and from are both the host's");
    if (device_to != nullptr && device_from != nullptr) {
        copy(device_to, device_from, bytes, Way::within, stream);
    } else if (device_to != nullptr) {
        copy(device_to, from, bytes, Way::up, stream);
    } else {
        copy(to, device_from, bytes, Way::down, stream);
        if (!is_pinned(to, bytes)) synchronize(stream);
    }
}

void zero_bytes(meft_ctx &ctx, void *to, int64_t bytes) {
    if (bytes == 0) return;
    void *device = device_address(to, bytes);
    if (device != nullptr) return fill_zero(device, bytes, ctx.device->stream);
    std::memset(to, 0, size_t(bytes));
}

void wait_for_lane(meft_ctx &ctx) { synchronize(ctx.device->stream); }

int64_t event_create(bool timed) {
    const cuda::Event event = create_event(timed);
    Events &known = events();
    std::lock_guard<std::mutex> hold(known.mutex);
    known.all[++known.last] = event;
    return known.last;
}
void event_destroy(int64_t number) {
    const cuda::Event event = event_of(number);
    Events &known = events();
    std::lock_guard<std::mutex> hold(known.mutex);
    known.all.erase(number);
    destroy_event(event);
}
void event_record(meft_ctx &ctx, int64_t number) { record_event(event_of(number), ctx.device->stream); }
void event_lane_waits(meft_ctx &ctx, int64_t number) { stream_waits(ctx.device->stream, event_of(number)); }
void event_host_waits(int64_t number) { host_waits(event_of(number)); }
bool event_done(int64_t number) { return is_done(event_of(number)); }
double event_elapsed_ms(int64_t begin, int64_t end) { return elapsed_ms(event_of(begin), event_of(end)); }
void reset_device_peaks() { reset_peaks(); }

}  // namespace meft
