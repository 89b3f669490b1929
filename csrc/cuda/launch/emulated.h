// SPDX-License-Identifier: Apache-2.0
// Launches without CUDA: the blocks of a grid, shared out to a few threads of the process.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "cuda/launch/collectives.h"
#include "cuda/launch/streams.h"

namespace meft_emulated {

// Threads that blocks may run on; 0: as many as the machine has.
inline int most_workers = 0;

constexpr size_t kSharedBytesAlways = 48 * 1024;
constexpr size_t kMostWorkers = 64;

// Bytes of dynamic shared memory that kernels have asked leave for.
struct SharedLimits {
    std::mutex mutex;
    std::map<const void *, size_t> bytes;
};
inline SharedLimits &shared_limits() {
    static SharedLimits limits;
    return limits;
}

inline Worker &own_worker() {
    static thread_local Worker mine;
    worker = &mine;
    return mine;
}

inline void check_shape(const std::string &name, const void *kernel, dim3 grid, dim3 block, size_t bytes) {
    const size_t threads = size_t(block.x) * block.y * block.z, blocks = size_t(grid.x) * grid.y * grid.z;
    if (threads == 0 || threads > kMostThreads || block.z > 64 || blocks == 0 || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535) {
        throw KernelFailure(name + ": impossible launch of " + std::to_string(blocks) + " blocks of " +
                            std::to_string(threads) + " threads");
    }
    SharedLimits &limits = shared_limits();
    std::lock_guard<std::mutex> hold(limits.mutex);
    const auto limit = limits.bytes.find(kernel);
    if (bytes > (limit == limits.bytes.end() ? kSharedBytesAlways : limit->second)) {
        throw KernelFailure(name + ": " + std::to_string(bytes) +
                            " bytes of dynamic shared memory without meft_allow_shared");
    }
}

inline size_t team_size(size_t blocks, size_t threads) {
#if defined(MEFT_EMULATED_SERIAL)
    (void)blocks;
    (void)threads;
    return 1;
#else
    const size_t want = most_workers > 0 ? size_t(most_workers) : std::max(1u, std::thread::hardware_concurrency());
    return std::min({want, blocks, kMostWorkers, 1 + blocks * threads / 8192});  // a thread costs about 20 us
#endif
}

// Calls `call` in every thread of every block.
template <class Call>
void run_grid(const std::string &title, Call &call, dim3 grid, dim3 block, size_t bytes) {
    const size_t threads = size_t(block.x) * block.y * block.z, blocks = size_t(grid.x) * grid.y * grid.z;
    const int running_order = order;
    std::atomic<size_t> next{0};
    std::string failures[kMostWorkers];
    const auto work = [&](size_t id) {
        Worker &w = own_worker();
        prepare_worker(w, grid, block, bytes);
        w.body = [](void *p) { (*static_cast<Call *>(p))(); };
        w.arguments = &call;
        for (size_t i; (i = next++) < blocks;) {
            const size_t b = running_order == 1 ? blocks - 1 - i : i;
            const unsigned x = unsigned(b % grid.x), y = unsigned(b / grid.x % grid.y),
                           z = unsigned(b / (size_t(grid.x) * grid.y));
            run_block(w, {x, y, z}, bytes);
            if (w.failure[0] == '\0') continue;
            failures[id] = title + ", block (" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) +
                           "): " + w.failure;
            next = blocks;
        }
        std::free(w.dynamic);
        self = nullptr;
    };
    std::vector<std::thread> others;
    for (size_t id = 1; id < team_size(blocks, threads); ++id) others.emplace_back(work, id);
    work(0);
    for (std::thread &other : others) other.join();
    for (const std::string &failure : failures) {
        if (!failure.empty()) throw KernelFailure(failure);
    }
}

template <class Kernel, class... Arguments>
void launch(const char *name, Kernel *kernel, dim3 grid, dim3 block, size_t bytes, cudaStream_t stream,
            Arguments... arguments) {
    const std::string title = std::string("kernel ") + name;
    check_shape(title, reinterpret_cast<const void *>(kernel), grid, block, bytes);
    give(stream, [=] {
        auto call = [&] { kernel(arguments...); };
        run_grid(title, call, grid, block, bytes);
    });
}

}  // namespace meft_emulated

#define threadIdx (meft_emulated::self->thread)
#define blockIdx (meft_emulated::worker->at)
#define blockDim (meft_emulated::worker->block)
#define gridDim (meft_emulated::worker->grid)
constexpr int warpSize = 32;
#if defined(MEFT_EMULATED_SERIAL)
#define __shared__ static
#else
#define __shared__ static thread_local
#endif
#define MEFT_SHARED_DYNAMIC(T, name) T *name = reinterpret_cast<T *>(meft_emulated::worker->dynamic)
#define MEFT_LAUNCH(kernel, grid, block, bytes, stream, ...) \
    meft_emulated::launch(#kernel, kernel, grid, block, bytes, stream, __VA_ARGS__)
template <class Kernel>
void meft_allow_shared(Kernel *kernel, size_t bytes) {
    meft_emulated::SharedLimits &limits = meft_emulated::shared_limits();
    std::lock_guard<std::mutex> hold(limits.mutex);
    limits.bytes[reinterpret_cast<const void *>(kernel)] = bytes;
}
