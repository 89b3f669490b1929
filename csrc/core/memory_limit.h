// SPDX-License-Identifier: Apache-2.0
// The limits that a shell puts on a process's memory.
#pragma once

#include <cstdint>

namespace meft {

// which: 0 without a limit, 1 on private memory (ulimit -d), 2 on addresses (ulimit -v), whichever leaves less; bytes: so
// much. 0 and 0 too where the system does not tell what is used.
void find_memory_limit(int64_t &which, int64_t &bytes);

}  // namespace meft
