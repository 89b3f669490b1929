// SPDX-License-Identifier: Apache-2.0
// Signals of faults that this library can answer: a page of a mapped file that is no longer there (SIGBUS). Nothing is
// installed before the first range is watched, and whatever is not ours goes where it would have gone without us.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace meft {

// A mapped range whose pages may vanish under the process: the file behind it is cut, its disk or network fails.
struct WatchedRange {
    std::atomic<uintptr_t> begin{0};  // 0: stands for nothing at present
    std::atomic<size_t> bytes{0};
    // Set once a page could not be read. From then on the whole range reads as zeros: what was computed from it is void.
    std::atomic<bool> lost{false};
    WatchedRange *next = nullptr;
};

// Watches [begin, begin + bytes), which is mapped read-only. Throws std::bad_alloc. One caller at a time.
WatchedRange *watch_range(void *begin, size_t bytes);
// Ends the watch, before the range is unmapped. One caller at a time.
void unwatch_range(WatchedRange *range);

// For a handler that has found a signal not to be its own: does what `earlier`, the action that it took the place of,
// would have done. @mutates earlier, when that acts only once
void pass_on(int signal, siginfo_t *info, void *context, struct sigaction &earlier);

}  // namespace meft
