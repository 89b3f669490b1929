// SPDX-License-Identifier: Apache-2.0
// Streams without CUDA: work in the order in which it was given. Usually it is done as it is given. On a stream that is
// late it is kept until somebody waits for it, which is as late as a device may be: so a wait that is missing anywhere
// gives wrong numbers, every time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace meft_emulated {

// One order of work. `given` and `done` count its pieces.
struct Stream {
    bool late = false;
    std::deque<std::function<void()>> work;
    int64_t given = 0;
    int64_t done = 0;
};

// Of all streams: work is done by whoever waits, on whatever thread, one piece at a time.
inline std::recursive_mutex &stream_mutex() {
    static std::recursive_mutex mutex;
    return mutex;
}

// Does the work of a stream up to its piece number `last`. What a piece throws reaches whoever waits.
inline void work_off(Stream &stream, int64_t last) {
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    while (stream.done < last && !stream.work.empty()) {
        const std::function<void()> piece = std::move(stream.work.front());
        stream.work.pop_front();
        ++stream.done;
        piece();
    }
}

// The handle is a Stream, or null for work that is done at once.
template <class Work>
void give(void *handle, Work &&work) {
    Stream *stream = static_cast<Stream *>(handle);
    if (stream == nullptr || !stream->late) return work();
    std::lock_guard<std::recursive_mutex> hold(stream_mutex());
    stream->work.emplace_back(std::forward<Work>(work));
    ++stream->given;
}

}  // namespace meft_emulated
