// SPDX-License-Identifier: Apache-2.0
#include "core/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/guard.h"

namespace meft {

namespace {

// Spins before a worker sleeps: about 200 us on a 3.6 GHz Zen 4, measured to cover the gaps inside a step.
constexpr int kSpins = 20000;
// Spins before a thread gives its core away, in case the one it waits for has none.
constexpr int kSpinsBeforeYield = 2000;

void pause_briefly() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Set while a thread runs a task: a region inside a region runs on the spot.
thread_local bool inside_task = false;

template <class Condition> void wait_until(Condition &&holds) {
    for (int spin = 0; !holds();) {
        if (++spin < kSpinsBeforeYield) {
            pause_briefly();
        } else {
            sched_yield();
        }
    }
}

// Open work, in one word so that a claim is one compare-and-swap: the low bits count tasks not yet claimed, the high
// bits say how many threads may claim. A claim is valid for whatever region is current when it succeeds; the region
// cannot end before the claimed task is done, so its other fields are read after the claim.
constexpr int kTaskBits = 48;
constexpr uint64_t kTaskMask = (uint64_t(1) << kTaskBits) - 1;
constexpr int32_t kMostThreads = (1 << (64 - kTaskBits)) - 1;

class Pool {
public:
    ~Pool() {
        for (const auto &worker : workers_) {
            std::lock_guard<std::mutex> lock(worker->mutex);
            worker->quit = true;
            worker->wake.notify_one();
        }
        for (const auto &worker : workers_) worker->thread.join();
    }

    // At least `threads` threads, the caller's included. Throws Failure when the system refuses one.
    void grow(int32_t threads) {
        std::lock_guard<std::mutex> entered(entry_);
        // Signals are the host's business: no worker takes one, but for faults of its own, which cannot wait.
        sigset_t all, before;
        sigfillset(&all);
        for (const int fault : {SIGBUS, SIGSEGV, SIGILL, SIGFPE}) sigdelset(&all, fault);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            while (int32_t(workers_.size()) + 1 < threads) start_worker();
        } catch (...) {
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
            throw;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    void run(int32_t threads, int64_t tasks, PoolTask task, void *argument) {
        std::lock_guard<std::mutex> entered(entry_);
        task_ = task;
        argument_ = argument;
        tasks_ = tasks;
        done_.store(0, std::memory_order_relaxed);
        // Sequentially consistent against `asleep`: either the worker sees the work or we see the worker asleep.
        open_.store((uint64_t(threads) << kTaskBits) | uint64_t(tasks));
        const int64_t helpers = std::min<int64_t>({int64_t(threads) - 1, tasks - 1, int64_t(workers_.size())});
        for (int64_t i = 0; i < helpers; ++i) wake(*workers_[size_t(i)]);
        take_tasks(0);
        wait_until([&] { return done_.load(std::memory_order_acquire) == tasks; });
    }

private:
    struct Worker {
        std::thread thread;
        std::mutex mutex;
        std::condition_variable wake;
        std::atomic<bool> asleep{false};
        std::atomic<bool> quit{false};
    };

    void start_worker() {
        const int32_t index = int32_t(workers_.size()) + 1;
        auto worker = std::make_unique<Worker>();
        Worker *own = worker.get();
        workers_.reserve(workers_.size() + 1);  // so that nothing can throw once the thread runs
        try {
            own->thread = std::thread([this, own, index] { work(*own, index); });
        } catch (const std::system_error &refused) {
            fail(MEFT_OUT_OF_MEMORY,
                 "the system refused thread %d (%s): ask for fewer threads (--threads, MEFT_THREADS), or raise the limit on "
                 "threads or on memory (ulimit -u, -v)",
                 int(index) + 1, refused.what());
        }
        char name[24];
        std::snprintf(name, sizeof name, "meft-%d", int(index));  // at most 10 characters: threads are bounded
        pthread_setname_np(own->thread.native_handle(), name);
        workers_.push_back(std::move(worker));
    }

    static void wake(Worker &worker) {
        if (!worker.asleep.load()) return;
        // Taken so that the worker is either before its check of the work or inside its wait.
        std::lock_guard<std::mutex> lock(worker.mutex);
        worker.wake.notify_one();
    }

    bool has_work(int32_t thread) const {
        const uint64_t open = open_.load();
        return (open & kTaskMask) != 0 && uint64_t(thread) < (open >> kTaskBits);
    }

    // Claims tasks, lowest index first, until none is left for this thread.
    void take_tasks(int32_t thread) {
        inside_task = true;
        uint64_t open = open_.load(std::memory_order_relaxed);
        while ((open & kTaskMask) != 0 && uint64_t(thread) < (open >> kTaskBits)) {
            if (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acquire, std::memory_order_relaxed)) {
                continue;
            }
            task_(argument_, tasks_ - int64_t(open & kTaskMask), thread);
            done_.fetch_add(1, std::memory_order_release);
            open = open_.load(std::memory_order_relaxed);
        }
        inside_task = false;
    }

    void work(Worker &own, int32_t thread) {
        for (;;) {
            for (int spin = 0; spin < kSpins && !has_work(thread) && !own.quit.load(std::memory_order_relaxed); ++spin) {
                pause_briefly();
            }
            if (!has_work(thread)) {
                std::unique_lock<std::mutex> lock(own.mutex);
                own.asleep.store(true);
                own.wake.wait(lock, [&] { return own.quit.load() || has_work(thread); });
                own.asleep.store(false);
            }
            if (own.quit.load()) return;
            take_tasks(thread);
        }
    }

    std::mutex entry_;  // one region at a time
    std::vector<std::unique_ptr<Worker>> workers_;
    // Of the current region.
    PoolTask task_ = nullptr;
    void *argument_ = nullptr;
    int64_t tasks_ = 0;
    // Each on its own cache line: claimed from and counted into by every thread.
    alignas(64) std::atomic<uint64_t> open_{0};
    alignas(64) std::atomic<int64_t> done_{0};
};

// Process-wide on purpose: two pools on the same cores would fight. Plain pointers, so that nothing runs at unload.
std::mutex pool_mutex;
Pool *pool = nullptr;
int64_t pool_holders = 0;

// Cores that a container's quota allows (cgroup version 2), or `most` without one.
int32_t quota_cores(int32_t most) {
    std::FILE *file = std::fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == nullptr) return most;
    long long quota = 0, period = 0;
    const int fields = std::fscanf(file, "%lld %lld", &quota, &period);  // "max 100000" when there is no quota
    std::fclose(file);
    if (fields != 2 || quota <= 0 || period <= 0) return most;
    return int32_t(std::clamp<long long>((quota + period - 1) / period, 1, most));
}

}  // namespace

int32_t usable_cores() {
    int32_t cores = std::max(1, int32_t(std::thread::hardware_concurrency()));
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = std::max(1, CPU_COUNT(&set));
    return quota_cores(std::min(cores, kMostThreads));
}

void pool_acquire(int32_t threads) {
    std::lock_guard<std::mutex> lock(pool_mutex);
    std::unique_ptr<Pool> fresh;
    if (pool == nullptr) fresh = std::make_unique<Pool>();
    (fresh ? fresh.get() : pool)->grow(std::min(threads, kMostThreads));
    if (fresh) pool = fresh.release();
    ++pool_holders;
}

void pool_release() {
    std::lock_guard<std::mutex> lock(pool_mutex);
    if (--pool_holders > 0) return;
    delete pool;
    pool = nullptr;
}

bool pool_entered() { return inside_task; }

void await_at_least(const int64_t *value, int64_t least) {
    wait_until([=] { return __atomic_load_n(value, __ATOMIC_ACQUIRE) >= least; });
}

void pool_run(int32_t threads, int64_t tasks, PoolTask task, void *argument) {
    pool->run(threads, tasks, task, argument);
}

}  // namespace meft
