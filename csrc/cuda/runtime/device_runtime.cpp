// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime, linked into this library; the driver is found by it when first asked.
#include <cuda_runtime.h>

#include <cstdlib>

#include "core/guard.h"
#include "cuda/runtime/runtime.h"

namespace meft {
namespace cuda {

namespace {

void check(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // an error that does not stick is forgotten
    fail(MEFT_DEVICE, "%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

bool synchronous_launches() {
    static const bool wanted = [] {
        const char *text = std::getenv("MEFT_CUDA_SYNC");
        return text != nullptr && text[0] == '1';
    }();
    return wanted;
}

Presence presence_of(cudaError_t error, int driver) {
    if (error == cudaSuccess) return Presence::present;
    if (driver == 0) return Presence::driver_missing;
    if (error == cudaErrorInsufficientDriver) return Presence::driver_too_old;
    if (error == cudaErrorNoDevice) return Presence::no_device;
    return Presence::broken;
}

// The default pool of the device gives nothing back while the process runs, so that a step allocates nothing new.
void keep_pool() {
    static const bool once = [] {
        cudaMemPool_t pool;
        check(cudaDeviceGetDefaultMemPool(&pool, 0), "cudaDeviceGetDefaultMemPool");
        uint64_t all = UINT64_MAX;
        check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all), "cudaMemPoolSetAttribute");
        int off = 0;  // would insert waits between streams unseen
        check(cudaMemPoolSetAttribute(pool, cudaMemPoolReuseAllowInternalDependencies, &off),
              "cudaMemPoolSetAttribute");
        return true;
    }();
    (void)once;
}

// Null for memory that is out, which does not stick.
void *allocated(cudaError_t error, void *memory, const char *what) {
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return nullptr;
    }
    check(error, what);
    return memory;
}

}  // namespace

const bool kEmulated = false;

void check_launch(const char *kernel, cudaStream_t stream) {
    cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess && synchronous_launches()) error = cudaStreamSynchronize(stream);
    check(error, kernel);
}

DeviceFacts device_facts() {
    DeviceFacts facts;
    int driver = 0, runtime = 0, count = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    facts.driver = driver > 0 ? version_text(driver) : "none";
    facts.runtime = version_text(runtime);
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
    cudaDeviceProp properties;
    if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, 0);
    facts.presence = presence_of(error, driver);
    if (error != cudaSuccess) {
        cudaGetLastError();
        facts.text = cudaGetErrorString(error);
        return facts;
    }
    facts.name = properties.name;
    facts.architecture = std::to_string(properties.major) + "." + std::to_string(properties.minor);
    facts.memory_bytes = int64_t(properties.totalGlobalMem);
    facts.copy_engines = properties.asyncEngineCount;
    facts.multiprocessors = properties.multiProcessorCount;
    return facts;
}

int64_t free_device_bytes() {
    size_t free_bytes = 0, all_bytes = 0;
    check(cudaMemGetInfo(&free_bytes, &all_bytes), "cudaMemGetInfo");
    return int64_t(free_bytes);
}

cudaStream_t create_stream(bool urgent) {
    int lowest = 0, highest = 0;
    check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "cudaDeviceGetStreamPriorityRange");
    cudaStream_t stream;
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, urgent ? highest : lowest),
          "cudaStreamCreateWithPriority");
    keep_pool();
    return stream;
}
void destroy_stream(cudaStream_t stream) noexcept { cudaStreamDestroy(stream); }
void synchronize(cudaStream_t stream) { check(cudaStreamSynchronize(stream), "cudaStreamSynchronize"); }

Event create_event(bool timed) {
    cudaEvent_t event;
    check(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming), "cudaEventCreate");
    return event;
}
void destroy_event(Event event) noexcept { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }
void record_event(Event event, cudaStream_t stream) {
    check(cudaEventRecord(static_cast<cudaEvent_t>(event), stream), "cudaEventRecord");
}
void stream_waits(cudaStream_t stream, Event event) {
    check(cudaStreamWaitEvent(stream, static_cast<cudaEvent_t>(event), 0), "cudaStreamWaitEvent");
}
void host_waits(Event event) { check(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "cudaEventSynchronize"); }
bool is_done(Event event) {
    const cudaError_t error = cudaEventQuery(static_cast<cudaEvent_t>(event));
    if (error != cudaErrorNotReady) check(error, "cudaEventQuery");
    return error == cudaSuccess;
}
double elapsed_ms(Event begin, Event end) {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(begin), static_cast<cudaEvent_t>(end)),
          "cudaEventElapsedTime");
    return double(ms);
}

void *allocate(int64_t bytes) {
    void *memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, size_t(bytes));
    return allocated(error, memory, "cudaMalloc");
}
void release(void *memory) noexcept { cudaFree(memory); }
void *allocate_on(cudaStream_t stream, int64_t bytes) {
    void *memory = nullptr;
    const cudaError_t error = cudaMallocAsync(&memory, size_t(bytes), stream);
    return allocated(error, memory, "cudaMallocAsync");
}
void release_on(cudaStream_t stream, void *memory) noexcept { cudaFreeAsync(memory, stream); }
void *allocate_pinned(int64_t bytes) {
    void *memory = nullptr;
    const cudaError_t error = cudaHostAlloc(&memory, size_t(bytes), cudaHostAllocPortable);
    return allocated(error, memory, "cudaHostAlloc");
}
void release_pinned(void *memory) noexcept { cudaFreeHost(memory); }

void copy(void *to, const void *from, int64_t bytes, Way way, cudaStream_t stream) {
    const cudaMemcpyKind kind = way == Way::up     ? cudaMemcpyHostToDevice
                                : way == Way::down ? cudaMemcpyDeviceToHost
                                                   : cudaMemcpyDeviceToDevice;
    check(cudaMemcpyAsync(to, from, size_t(bytes), kind, stream), "cudaMemcpyAsync");
}
void fill_zero(void *to, int64_t bytes, cudaStream_t stream) {
    check(cudaMemsetAsync(to, 0, size_t(bytes), stream), "cudaMemsetAsync");
}

}  // namespace cuda
}  // namespace meft
