// SPDX-License-Identifier: Apache-2.0
// The one thread pool of the process. Any context enters it, one at a time; workers spin for a moment between
// regions and sleep when idle, and a region waits only for tasks, never for a worker that has none.
// Workers take the floating-point state of the thread that made them: IEEE, subnormals kept.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/context.h"

namespace meft {

// The cores this process may use: its affinity, and its container's quota.
int32_t usable_cores();

// A context of more than one thread holds the pool, which then has at least that many threads, the caller's among
// them; the last holder joins the workers. Throws Failure when the system refuses a thread.
void pool_acquire(int32_t threads);
void pool_release();

// Whether the calling thread is running a task.
bool pool_entered();

// Runs task(argument, index, thread) for index in [0, tasks), each index exactly once, on up to `threads` threads;
// thread is in [0, threads). Which thread takes which index is not fixed: results must not depend on it.
// Indices are taken lowest first. A task must not throw, nor call this again.
using PoolTask = void (*)(void *argument, int64_t index, int32_t thread);
void pool_run(int32_t threads, int64_t tasks, PoolTask task, void *argument);

// Waits until *value, which tasks of lower indices in the same region raise, is at least `least`. These are done or under
// way, since indices are taken lowest first, so the wait ends.
void await_at_least(const int64_t *value, int64_t least);

// Calls body(index, thread) for every index in [0, tasks) on the lane's threads. Inside a task it runs on the spot, as
// thread 0.
template <class Body> void parallel(meft_ctx &lane, int64_t tasks, Body &&body) {
    if (tasks <= 0) return;
    if (tasks == 1 || lane.threads <= 1 || pool_entered()) {
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
