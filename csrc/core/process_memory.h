// SPDX-License-Identifier: Apache-2.0
// What this process has of memory, and the limits that a shell puts on it: asked here, because Deno bars /proc.
#pragma once

#include <cstdint>

namespace meft {

struct ProcessMemory {
    int64_t limit;        // the limit that leaves less: 0 none, 1 on private memory (ulimit -d), 2 on addresses (ulimit -v)
    int64_t limit_bytes;  // what it leaves; 0 without one
    int64_t peak_bytes;   // resident at most since the process began
};

// All 0 where the system does not tell.
ProcessMemory process_memory();

}  // namespace meft
