// SPDX-License-Identifier: Apache-2.0
#include "core/fault.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace meft {

namespace {

// A list that only ever grows at its head, its nodes used again: a handler walks it without a lock.
std::atomic<WatchedRange *> ranges{nullptr};
struct sigaction earlier_bus;

WatchedRange *range_at(uintptr_t address) {
    for (WatchedRange *range = ranges.load(); range != nullptr; range = range->next) {
        const uintptr_t begin = range->begin.load();
        if (begin != 0 && address >= begin && address - begin < range->bytes.load()) return range;
    }
    return nullptr;
}

// Puts zeros in the place of the whole range, so that every thread that reads there goes on, to be told afterwards.
bool replace_by_zeros(WatchedRange &range) {
    range.lost.store(true);  // first: whoever reads a zero finds the mark
    void *begin = reinterpret_cast<void *>(range.begin.load());
    return mmap(begin, range.bytes.load(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
           begin;
}

void on_bus_error(int signal, siginfo_t *info, void *context) {
    const int kept = errno;
    // Above 0: caused by an access, which is made again on return. Others were sent by somebody.
    WatchedRange *range = info->si_code > 0 ? range_at(reinterpret_cast<uintptr_t>(info->si_addr)) : nullptr;
    if (range == nullptr || !replace_by_zeros(*range)) pass_on(signal, info, context, earlier_bus);
    errno = kept;
}

void install() {
    static const bool once = [] {
        sigaction(SIGBUS, nullptr, &earlier_bus);  // before ours can be called
        struct sigaction mine;
        std::memset(&mine, 0, sizeof mine);
        mine.sa_sigaction = on_bus_error;
        mine.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&mine.sa_mask);
        sigaction(SIGBUS, &mine, nullptr);
        return true;
    }();
    (void)once;
}

}  // namespace

WatchedRange *watch_range(void *begin, size_t bytes) {
    install();
    WatchedRange *range = ranges.load();
    while (range != nullptr && range->begin.load() != 0) range = range->next;
    if (range == nullptr) {
        range = new WatchedRange();
        range->next = ranges.load();
        ranges.store(range);
    }
    range->lost.store(false);
    range->bytes.store(bytes);
    range->begin.store(reinterpret_cast<uintptr_t>(begin));
    return range;
}

void unwatch_range(WatchedRange *range) { range->begin.store(0); }

void pass_on(int signal, siginfo_t *info, void *context, struct sigaction &earlier) {
    const bool full = (earlier.sa_flags & SA_SIGINFO) != 0;
    if (!full && (earlier.sa_handler == SIG_DFL || earlier.sa_handler == SIG_IGN)) {
        const bool sent = info->si_code <= 0;
        if (sent && earlier.sa_handler == SIG_IGN) return;
        sigaction(signal, &earlier, nullptr);
        if (sent) raise(signal);  // waits until this handler returns; a fault comes again by itself
        return;
    }
    const struct sigaction action = earlier;
    if ((action.sa_flags & SA_RESETHAND) != 0) {
        std::memset(&earlier, 0, sizeof earlier);
        earlier.sa_handler = SIG_DFL;
    }
    sigset_t before, own;
    sigemptyset(&own);
    sigaddset(&own, signal);
    pthread_sigmask(SIG_BLOCK, &action.sa_mask, &before);
    if ((action.sa_flags & SA_NODEFER) != 0) pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
    if (full) {
        action.sa_sigaction(signal, info, context);
    } else {
        action.sa_handler(signal);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace meft
