// SPDX-License-Identifier: Apache-2.0
#include "core/process_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>

namespace meft {

namespace {

// Bytes that a limit leaves; -1 without one.
int64_t left_of(int resource, int64_t used_kib) {
    struct rlimit limit;
    if (used_kib < 0 || getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return -1;
    const rlim_t used = rlim_t(used_kib) * 1024;
    return limit.rlim_cur > used ? int64_t(std::min<rlim_t>(limit.rlim_cur - used, INT64_MAX)) : 0;
}

}  // namespace

ProcessMemory process_memory() {
    ProcessMemory memory{};
    long long private_kib = -1, addresses_kib = -1, peak_kib = 0;
    std::FILE *file = std::fopen("/proc/self/status", "re");
    if (file == nullptr) return memory;
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr) {
        std::sscanf(line, "VmData: %lld", &private_kib);
        std::sscanf(line, "VmSize: %lld", &addresses_kib);
        std::sscanf(line, "VmHWM: %lld", &peak_kib);
    }
    std::fclose(file);
    memory.peak_bytes = peak_kib * 1024;
    const int64_t left[] = {left_of(RLIMIT_DATA, private_kib), left_of(RLIMIT_AS, addresses_kib)};
    for (int64_t i = 0; i < 2; ++i) {
        if (left[i] < 0 || (memory.limit != 0 && left[i] >= memory.limit_bytes)) continue;
        memory.limit = i + 1;
        memory.limit_bytes = left[i];
    }
    return memory;
}

}  // namespace meft
