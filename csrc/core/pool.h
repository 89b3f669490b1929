// SPDX-License-Identifier: Apache-2.0
// The one thread pool of the process. Any context enters it, one at a time; workers spin for a moment between
// calls (0.35 us to start a region when they do) and sleep when idle.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/context.h"

namespace meft {

// The cores this process may use.
int32_t usable_cores();

// Contexts hold the pool: the first starts `threads` - 1 workers, the last joins them. Returns the pool's threads.
int32_t pool_acquire(int32_t threads);
void pool_release();

// Runs task(argument, index, thread) for index in [0, tasks), each index exactly once, on up to `threads` threads;
// thread is in [0, threads). Which thread takes which index is not fixed: results must not depend on it.
// A task must not throw and must not call this again.
using PoolTask = void (*)(void *argument, int64_t index, int32_t thread);
void pool_run(int32_t threads, int64_t tasks, PoolTask task, void *argument);

// Calls body(index, thread) for every index in [0, tasks) on the lane's threads.
template <class Body> void parallel(meft_ctx &lane, int64_t tasks, Body &&body) {
    if (tasks <= 0) return;
    if (tasks == 1 || lane.threads <= 1) {
        for (int64_t index = 0; index < tasks; ++index) body(index, 0);
        return;
    }
    pool_run(
        lane.threads, tasks,
        [](void *argument, int64_t index, int32_t thread) {
            (*static_cast<typename std::remove_reference<Body>::type *>(argument))(index, thread);
        },
        const_cast<void *>(static_cast<const void *>(&body)));
}

// Calls body(begin, end, thread) on consecutive pieces of [0, count), each of `chunk` elements but the last.
// Pieces depend on chunk alone, never on the number of threads.
template <class Body> void parallel_chunks(meft_ctx &lane, int64_t count, int64_t chunk, Body &&body) {
    parallel(lane, (count + chunk - 1) / chunk, [&](int64_t index, int32_t thread) {
        const int64_t begin = index * chunk;
        body(begin, begin + chunk < count ? begin + chunk : count, thread);
    });
}

}  // namespace meft
