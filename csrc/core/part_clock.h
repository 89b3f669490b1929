// SPDX-License-Identifier: Apache-2.0
// Adds the time of a scope to a part of its lane: some tens of nanoseconds a scope, so it is always on.
#pragma once

#include <ctime>

#include "core/context.h"

namespace meft {

class PartClock {
public:
    PartClock(meft_ctx &lane, MeftPart part) : total_(lane.part_ns[part]), start_(now()) {}
    ~PartClock() { total_ += now() - start_; }
    PartClock(const PartClock &) = delete;
    PartClock &operator=(const PartClock &) = delete;

private:
    static int64_t now() {
        timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        return int64_t(time.tv_sec) * 1000000000 + time.tv_nsec;
    }
    int64_t &total_;
    int64_t start_;
};

}  // namespace meft
