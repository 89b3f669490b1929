// SPDX-License-Identifier: Apache-2.0
// A device without a device: memory of its own on the host. Its streams do their work as it is given, or, with
// MEFT_EMULATED_LATE=1 when a context is made, not before somebody waits for it (launch/streams.h).
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "core/guard.h"
#include "cuda/runtime/runtime.h"

namespace meft {
namespace cuda {

namespace {

using meft_emulated::give;
using meft_emulated::Stream;
using meft_emulated::stream_mutex;
using meft_emulated::work_off;

// As large as the smallest card that the emulation stands for; MEFT_EMULATED_BYTES makes it smaller, for tests of what
// happens when memory is out.
int64_t memory_bytes() {
    const char *text = std::getenv("MEFT_EMULATED_BYTES");
    const int64_t bytes = text != nullptr ? std::atoll(text) : 0;
    return bytes > 0 ? bytes : int64_t(24) << 30;
}

std::atomic<int64_t> used{0};

// The size stands before the memory, which stays 256-byte aligned as on a device. What is new is full of NaN, and a
// guard stands behind it: a kernel that wrote over that is told of by whoever waits for a stream next.
constexpr int64_t kHead = 256;
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kGuardBytes = 0;  // AddressSanitizer sees one element too far, even read
#else
constexpr int64_t kGuardBytes = 256;
#endif
constexpr int kNan = 0xff, kGuard = 0xa5;  // as every byte
std::atomic<bool> overrun{false};

// All streams that were ever made: an event may name one that has ended. An ended one serves again.
struct Streams {
    std::vector<std::unique_ptr<Stream>> all;
    std::vector<Stream *> ended;
};
Streams &streams() {
    static Streams *const known = new Streams();
    return *known;
}

void finish_all() {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    for (const auto &stream : streams().all) work_off(*stream, stream->given);
}

// A mark in a stream, and the host's clock when the work before it was done.
struct Mark {
    Stream *stream = nullptr;  // null: never recorded
    int64_t piece = 0;
    double at_ms = 0;
};
// Shared, because a stream may reach the mark after its event was destroyed.
using MarkOwner = std::shared_ptr<Mark>;
Mark &mark_of(Event event) { return **static_cast<MarkOwner *>(event); }

double clock_ms() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Pinned memory, by first address: copies to and from other memory of the host are done when they return.
std::map<uintptr_t, int64_t> &pinned_bytes() {
    static auto *const known = new std::map<uintptr_t, int64_t>();
    return *known;
}
bool is_pinned_address(const void *host) {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    const uintptr_t address = reinterpret_cast<uintptr_t>(host);
    const auto next = pinned_bytes().upper_bound(address);
    if (next == pinned_bytes().begin()) return false;
    const auto block = std::prev(next);
    return address < block->first + uintptr_t(block->second);
}

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
cudaStream_t create_stream(bool urgent) {
    static std::atomic<int> made{0};
    if (!urgent) meft_emulated::order = made++ % 4;
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    Streams &known = streams();
    if (known.ended.empty()) {
        known.all.push_back(std::make_unique<Stream>());
        known.ended.push_back(known.all.back().get());
    }
    Stream *stream = known.ended.back();
    known.ended.pop_back();
    const char *late = std::getenv("MEFT_EMULATED_LATE");
    stream->late = late != nullptr && late[0] == '1';
    return stream;
}
void destroy_stream(cudaStream_t stream) noexcept {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    try {
        synchronize(stream);
    } catch (...) {  // a kernel that failed and that nobody waited for
        static_cast<Stream *>(stream)->work.clear();
    }
    streams().ended.push_back(static_cast<Stream *>(stream));
}
void synchronize(cudaStream_t stream) {
    Stream &own = *static_cast<Stream *>(stream);
    work_off(own, own.given);
    if (overrun.exchange(false)) fail(MEFT_INTERNAL, "a kernel wrote past the end of a piece of device memory");
}

Event create_event(bool) { return new MarkOwner(std::make_shared<Mark>()); }
void destroy_event(Event event) noexcept { delete static_cast<MarkOwner *>(event); }
void record_event(Event event, cudaStream_t stream) {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    const MarkOwner mark = *static_cast<MarkOwner *>(event);
    Stream &own = *static_cast<Stream *>(stream);
    const int64_t piece = own.late ? own.given + 1 : own.given;
    mark->stream = &own;
    mark->piece = piece;
    give(stream, [mark, piece] {
        if (mark->piece == piece) mark->at_ms = clock_ms();
    });
}
void stream_waits(cudaStream_t stream, Event event) {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    const Mark mark = mark_of(event);
    if (mark.stream == nullptr) return;
    give(stream, [mark] { work_off(*mark.stream, mark.piece); });
}
void host_waits(Event event) {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    const Mark &mark = mark_of(event);
    if (mark.stream != nullptr) work_off(*mark.stream, mark.piece);
}
bool is_done(Event event) {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    const Mark &mark = mark_of(event);
    return mark.stream == nullptr || mark.stream->done >= mark.piece;
}
double elapsed_ms(Event begin, Event end) {
    if (!is_done(begin) || !is_done(end)) fail(MEFT_DEVICE, "the work between two events is not done");
    return mark_of(end).at_ms - mark_of(begin).at_ms;
}

void *allocate(int64_t bytes) {
    if (used.fetch_add(bytes) + bytes > memory_bytes()) {
        used -= bytes;
        finish_all();  // pieces that are to be given back in the order of a stream
        if (used.fetch_add(bytes) + bytes > memory_bytes()) {
            used -= bytes;
            return nullptr;
        }
    }
    void *memory = nullptr;
    if (posix_memalign(&memory, kHead, size_t(kHead + bytes + kGuardBytes)) != 0) {
        used -= bytes;
        return nullptr;
    }
    std::memcpy(memory, &bytes, sizeof bytes);
    char *first = static_cast<char *>(memory) + kHead;
    std::memset(first, kNan, size_t(bytes));
    std::memset(first + bytes, kGuard, size_t(kGuardBytes));
    return first;
}
namespace {
void free_now(void *memory) noexcept {
    char *head = static_cast<char *>(memory) - kHead;
    int64_t bytes;
    std::memcpy(&bytes, head, sizeof bytes);
    used -= bytes;
    const auto *guard = static_cast<const unsigned char *>(memory) + bytes;
    if (std::any_of(guard, guard + kGuardBytes, [](unsigned char byte) { return byte != kGuard; })) overrun = true;
    std::free(head);
}
}  // namespace
void *allocate_on(cudaStream_t, int64_t bytes) { return allocate(bytes); }
void release(void *memory) noexcept {
    if (memory == nullptr) return;
    finish_all();
    free_now(memory);
}
void release_on(cudaStream_t stream, void *memory) noexcept {
    give(stream, [memory] { free_now(memory); });
}
void *allocate_pinned(int64_t bytes) {
    void *memory = std::aligned_alloc(64, size_t(bytes + 63) / 64 * 64);
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    if (memory != nullptr) pinned_bytes()[reinterpret_cast<uintptr_t>(memory)] = bytes;
    return memory;
}
void release_pinned(void *memory) noexcept {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    finish_all();
    pinned_bytes().erase(reinterpret_cast<uintptr_t>(memory));
    std::free(memory);
}

void copy(void *to, const void *from, int64_t bytes, Way way, cudaStream_t stream) {
    const size_t count = size_t(bytes);
    if (way == Way::up && !is_pinned_address(from)) {
        const char *first = static_cast<const char *>(from);
        return give(stream, [to, left = std::vector<char>(first, first + bytes)] {
            std::memcpy(to, left.data(), left.size());
        });
    }
    if (way == Way::down && !is_pinned_address(to)) {
        synchronize(stream);
        std::memcpy(to, from, count);
        return;
    }
    give(stream, [=] { std::memcpy(to, from, count); });
}
void fill_zero(void *to, int64_t bytes, cudaStream_t stream) {
    give(stream, [=] { std::memset(to, 0, size_t(bytes)); });
}

}  // namespace cuda
}  // namespace meft
