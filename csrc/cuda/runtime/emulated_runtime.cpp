// SPDX-License-Identifier: Apache-2.0
// A device without a device: memory of its own on the host, every stream done at once.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core/guard.h"
#include "cuda/runtime/runtime.h"

namespace meft {
namespace cuda {

namespace {

// As large as the smallest card that the emulation stands for; MEFT_EMULATED_BYTES makes it smaller, for tests of what
// happens when memory is out.
int64_t memory_bytes() {
    const char *text = std::getenv("MEFT_EMULATED_BYTES");
    const int64_t bytes = text != nullptr ? std::atoll(text) : 0;
    return bytes > 0 ? bytes : int64_t(24) << 30;
}

std::atomic<int64_t> used{0};

// The size stands before the memory, which stays 256-byte aligned as on a device.
constexpr int64_t kHead = 256;

}  // namespace

const bool kEmulated = true;

void check_launch(const char *, cudaStream_t) {}

DeviceFacts device_facts() {
    DeviceFacts facts;
    facts.presence = Presence::present;
    facts.name = "emulated device";
    facts.architecture = "8.0";
    facts.driver = facts.runtime = "none";
    facts.memory_bytes = memory_bytes();
    facts.copy_engines = 2;
    facts.multiprocessors = 1;
    return facts;
}
int64_t free_device_bytes() { return memory_bytes() - used; }

// Every stream runs the threads of a block in another of four orders: who opens two and compares bits, as the contract
// tests do, finds missing barriers.
cudaStream_t create_stream(bool) {
    static std::atomic<int> streams{0};
    meft_emulated::order = streams++ % 4;
    return nullptr;
}
void destroy_stream(cudaStream_t) noexcept {}
void synchronize(cudaStream_t) {}

Event create_event() { return nullptr; }
void destroy_event(Event) noexcept {}
void record_event(Event, cudaStream_t) {}
void stream_waits(cudaStream_t, Event) {}
void host_waits(Event) {}

void *allocate(int64_t bytes) {
    if (used.fetch_add(bytes) + bytes > memory_bytes()) {
        used -= bytes;
        return nullptr;
    }
    // The very size asked for, so that AddressSanitizer sees one element too far.
    void *memory = nullptr;
    if (posix_memalign(&memory, kHead, size_t(bytes + kHead)) != 0) {
        used -= bytes;
        return nullptr;
    }
    std::memcpy(memory, &bytes, sizeof bytes);
    return static_cast<char *>(memory) + kHead;
}
void release(void *memory) noexcept {
    if (memory == nullptr) return;
    char *head = static_cast<char *>(memory) - kHead;
    int64_t bytes;
    std::memcpy(&bytes, head, sizeof bytes);
    used -= bytes;
    std::free(head);
}
void *allocate_on(cudaStream_t, int64_t bytes) { return allocate(bytes); }
void release_on(cudaStream_t, void *memory) noexcept { release(memory); }
void *allocate_pinned(int64_t bytes) { return std::aligned_alloc(64, size_t(bytes + 63) / 64 * 64); }
void release_pinned(void *memory) noexcept { std::free(memory); }

void copy(void *to, const void *from, int64_t bytes, Way, cudaStream_t) { std::memcpy(to, from, size_t(bytes)); }
void fill_zero(void *to, int64_t bytes, cudaStream_t) { std::memset(to, 0, size_t(bytes)); }

}  // namespace cuda
}  // namespace meft
