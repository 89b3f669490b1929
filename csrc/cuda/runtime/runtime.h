// SPDX-License-Identifier: Apache-2.0
// What the library asks of a device: memory, streams, events. Two implementations: device_runtime.cpp calls the CUDA
// runtime, emulated_runtime.cpp keeps "device" memory apart on the host and does all work at once, or late on purpose.
// Every function throws Failure (core/guard.h), with the device's own text; allocations return null when memory is out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/launch/launch.h"

namespace meft {
namespace cuda {

// Whether there is a device to work on, and if not, why: said apart by `doctor`.
enum class Presence { present, no_device, driver_missing, driver_too_old, broken };

struct DeviceFacts {
    Presence presence = Presence::no_device;
    std::string text;          // why not present
    std::string name;          // "NVIDIA H200"
    std::string architecture;  // "9.0"
    std::string driver;        // newest CUDA version that the driver speaks, "13.0"
    std::string runtime;       // CUDA version of this library
    int64_t memory_bytes = 0;
    int copy_engines = 0;
    int multiprocessors = 0;
};

extern const bool kEmulated;
DeviceFacts device_facts();
int64_t free_device_bytes();

cudaStream_t create_stream(bool urgent);
void destroy_stream(cudaStream_t stream) noexcept;
void synchronize(cudaStream_t stream);

using Event = void *;
Event create_event(bool timed);
void destroy_event(Event event) noexcept;
void record_event(Event event, cudaStream_t stream);
void stream_waits(cudaStream_t stream, Event event);  // work issued to the stream from now on waits
void host_waits(Event event);
bool is_done(Event event);                       // also when never recorded
double elapsed_ms(Event begin, Event end);       // of timed events whose work is done

// Whole blocks, which live long.
void *allocate(int64_t bytes);
void release(void *memory) noexcept;
// Pieces in the order of a stream's work: given back, they may serve the work that follows.
void *allocate_on(cudaStream_t stream, int64_t bytes);
void release_on(cudaStream_t stream, void *memory) noexcept;
// Host memory that copies reach beside the host's and the device's work.
void *allocate_pinned(int64_t bytes);
void release_pinned(void *memory) noexcept;

enum class Way { up, down, within };  // host to device, device to host, device to device
// Issued to the stream. A copy from or to memory that is not pinned has left or reached it on return only for Way::up.
void copy(void *to, const void *from, int64_t bytes, Way way, cudaStream_t stream);
void fill_zero(void *to, int64_t bytes, cudaStream_t stream);

}  // namespace cuda
}  // namespace meft
