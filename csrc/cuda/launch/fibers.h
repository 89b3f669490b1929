// SPDX-License-Identifier: Apache-2.0
// The threads of one block as fibers, for compilers without CUDA. A fiber runs until it meets a barrier or a warp
// collective (collectives.h) and is resumed when its partners have come. Warps run to a standstill one after another,
// so that a warp's stacks stay in cache; a round in which no fiber moves is a deadlock. Stacks of finished fibers are
// used again at once: a kernel without barriers needs one stack.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/launch/words.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__x86_64__)
#define MEFT_FIBERS_BY_HAND 1
#else
#define MEFT_FIBERS_BY_HAND 0
#include <ucontext.h>
#endif

namespace meft_emulated {

// A defect of a kernel or of its launch. The text names kernel, block, thread and source line.
struct KernelFailure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Wait : uint8_t { ready, block, warp, done };
enum class Op : uint8_t {
    sync,
    shuffle,
    ballot,
    match,
    add,
    min,
    max,
    min_signed,
    max_signed,
    bit_and,
    bit_or,
    bit_xor,
    custom
};
// Computes a collective of its own, such as a tensor-core step, from the operands of all 32 lanes.
using Resolver = void (*)(void *const operands[32], uint32_t mask);

struct Fiber {
    uint3 thread{};
    int index = 0;
    Wait wait = Wait::done;
    bool started = false;
    // The collective this lane waits in: its operands, its result, and where it stands.
    Op op = Op::sync;
    uint32_t mask = 0;
    int source = 0;
    uint64_t value = 0, result = 0;
    const char *file = "";
    int line = 0;
    char *stack = nullptr;
    void *fake = nullptr;  // AddressSanitizer's book of this stack
#if MEFT_FIBERS_BY_HAND
    void *top = nullptr;
#else
    ucontext_t context;
#endif
};

// One thread of the process, which runs blocks one after another.
struct Worker {
    dim3 grid, block;
    uint3 at{};
    std::vector<Fiber> fibers;
    Fiber home;  // the scheduler's own place
    std::vector<char *> free_stacks;
    char *stacks = nullptr, *dynamic = nullptr;
    void (*body)(void *) = nullptr;
    void *arguments = nullptr;
    int threads = 0, arrived = 0, done = 0, votes = 0;
    std::vector<int> warp_order;
    int lane_order[32];
    char failure[400] = "";
    const void *home_bottom = nullptr;
    size_t home_bytes = 0;
    ~Worker();
};

inline thread_local Worker *worker = nullptr;
inline thread_local Fiber *self = nullptr;
// Order in which threads run: 0 forwards, 1 backwards, otherwise the seed of a shuffle. A result that depends on it
// shows a missing barrier.
inline std::atomic<int> order{0};

// An odd stride, so that stacks do not fall into the same sets of the cache.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 * 1024 + 576;
#else
constexpr size_t kStackBytes = 64 * 1024 + 576;
#endif
constexpr size_t kMostThreads = 1024;
constexpr size_t kStacksBytes = kStackBytes * (kMostThreads + 4);
constexpr uint64_t kCanary = 0x5afe57ac4b10c4edull;  // at the far end of a stack: gone when it overflowed

inline Worker::~Worker() {
    if (stacks == nullptr) return;
#if defined(__SANITIZE_ADDRESS__)
    // Frames of fibers that never returned: whoever is given these addresses next knows nothing of them.
    __asan_unpoison_memory_region(stacks, kStacksBytes);
#endif
    munmap(stacks, kStacksBytes);
}

#if MEFT_FIBERS_BY_HAND
__attribute__((naked, noinline, unused)) static void swap_stacks(void **, void *) {
    asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret");
}
#endif

inline void switch_fiber(Fiber &from, Fiber &to, bool last = false) {
    const bool home = &to == &worker->home;
    self = home ? nullptr : &to;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &from.fake, home ? worker->home_bottom : to.stack,
                                   home ? worker->home_bytes : kStackBytes);
#endif
    (void)last;
#if MEFT_FIBERS_BY_HAND
    swap_stacks(&from.top, to.top);
#else
    swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#endif
}

inline void give_way() { switch_fiber(*self, worker->home); }

// Ends the block with this text, which the launch throws. Fibers are abandoned where they stand.
__attribute__((format(printf, 1, 2))) inline void fail_block(const char *format, ...) {
    if (worker->failure[0] == '\0') {
        va_list list;
        va_start(list, format);
        std::vsnprintf(worker->failure, sizeof worker->failure, format, list);
        va_end(list);
    }
    while (self != nullptr) give_way();
}

inline void fiber_entry() {
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (worker->home_bottom == nullptr) {
        worker->home_bottom = bottom;
        worker->home_bytes = bytes;
    }
#endif
    worker->body(worker->arguments);
    self->wait = Wait::done;
    ++worker->done;
    uint64_t canary;
    std::memcpy(&canary, self->stack, sizeof canary);
    if (canary != kCanary) {
        std::snprintf(worker->failure, sizeof worker->failure, "the stack of thread %d overflowed", self->index);
    }
    worker->free_stacks.push_back(self->stack);
    switch_fiber(*self, worker->home, true);
    std::abort();
}

inline void start_fiber(Fiber &f) {
    f.started = true;
    f.stack = worker->free_stacks.back();
    worker->free_stacks.pop_back();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(f.stack, kStackBytes);
#endif
    std::memcpy(f.stack, &kCanary, sizeof kCanary);
#if MEFT_FIBERS_BY_HAND
    void **top = reinterpret_cast<void **>((reinterpret_cast<uintptr_t>(f.stack) + kStackBytes) & ~uintptr_t(63));
    *--top = nullptr;  // fiber_entry never returns; this keeps the alignment that the ABI promises it
    *--top = reinterpret_cast<void *>(&fiber_entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    f.top = top;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = kStackBytes;
    f.context.uc_link = nullptr;
    makecontext(&f.context, &fiber_entry, 0);
#endif
}

inline void report_deadlock(Worker &w) {
    const Fiber *first = nullptr;
    int waiting = 0;
    for (const Fiber &f : w.fibers) {
        if (f.wait == Wait::done) continue;
        ++waiting;
        if (first == nullptr || f.wait == Wait::warp) first = &f;
    }
    fail_block("%d threads wait for ever at a %s, the first: thread %d at %s:%d; %d threads have exited", waiting,
               first->wait == Wait::warp ? "warp collective" : "block barrier", first->index, first->file, first->line,
               w.done);
}

// Runs every ready fiber of the warp that begins at `base` until none is. Returns whether any was.
inline bool run_warp(Worker &w, int base) {
    bool moved = false;
    for (bool again = true; again;) {
        again = false;
        for (const int lane : w.lane_order) {
            if (base + lane >= w.threads) continue;
            Fiber &f = w.fibers[base + lane];
            if (f.wait != Wait::ready) continue;
            if (!f.started) start_fiber(f);
            switch_fiber(w.home, f);
            if (w.failure[0] != '\0') return true;
            moved = again = true;
        }
    }
    return moved;
}

// Runs one block to its end. Dynamic shared memory starts as NaN.
inline void run_block(Worker &w, uint3 at, size_t dynamic_bytes) {
    w.at = at;
    w.arrived = w.done = w.votes = 0;
    for (int i = 0; i < w.threads; ++i) {
        Fiber &f = w.fibers[i];
        const unsigned u = unsigned(i);
        f.thread = {u % w.block.x, u / w.block.x % w.block.y, u / (w.block.x * w.block.y)};
        f.index = i;
        f.wait = Wait::ready;
        f.started = false;
    }
    if (dynamic_bytes > 0) std::memset(w.dynamic, 0xff, dynamic_bytes);
    while (w.done < w.threads) {
        bool moved = false;
        for (const int base : w.warp_order) {
            moved = run_warp(w, base) || moved;
            if (w.failure[0] != '\0') return;
        }
        if (!moved) return report_deadlock(w);
    }
}

inline void shuffle_order(Worker &w) {
    w.warp_order.clear();
    for (int base = 0; base < w.threads; base += 32) w.warp_order.push_back(base);
    for (int lane = 0; lane < 32; ++lane) w.lane_order[lane] = lane;
    uint32_t state = uint32_t(order.load()) * 2654435761u + 1;
    const auto mix = [&state](int *p, int n) {
        if (order == 1) std::reverse(p, p + n);
        if (order <= 1) return;
        for (int i = n - 1; i > 0; --i) {
            state = state * 1664525u + 1013904223u;
            std::swap(p[i], p[(state >> 8) % unsigned(i + 1)]);
        }
    };
    mix(w.warp_order.data(), int(w.warp_order.size()));
    mix(w.lane_order, 32);
}

inline void prepare_worker(Worker &w, dim3 grid, dim3 block, size_t dynamic_bytes) {
    w.grid = grid;
    w.block = block;
    w.threads = int(block.x * block.y * block.z);
    w.fibers.resize(size_t(w.threads));
    if (w.stacks == nullptr) {
        void *p =
            mmap(nullptr, kStacksBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) throw KernelFailure("no memory for the stacks of emulated threads");
        w.stacks = static_cast<char *>(p);
    }
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(w.stacks, kStacksBytes);
#endif
    w.free_stacks.clear();
    // Room below the lowest stack: an overflow is then seen by its canary before it is felt.
    for (size_t i = kMostThreads; i-- > 0;) w.free_stacks.push_back(w.stacks + kStackBytes * (i + 4));
    w.failure[0] = '\0';
    w.dynamic =
        dynamic_bytes > 0 ? static_cast<char *>(std::aligned_alloc(16, (dynamic_bytes + 15) / 16 * 16)) : nullptr;
    shuffle_order(w);
}

}  // namespace meft_emulated
