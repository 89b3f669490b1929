// SPDX-License-Identifier: Apache-2.0
#include "core/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <map>
#include <mutex>

#include "core/guard.h"

namespace meft {

namespace {

struct Mapping {
    char *data;
    int64_t bytes;
};

std::mutex mappings_mutex;
int64_t next_handle = 1;
int64_t bytes_mapped = 0;

// Leaked on purpose: nothing may run at unload while another thread still uses a mapping.
std::map<int64_t, Mapping> &mappings() {
    static std::map<int64_t, Mapping> *all = new std::map<int64_t, Mapping>();
    return *all;
}

int64_t element_bytes(const char *name, int32_t dtype) {
    if (dtype == MEFT_F32) return 4;
    if (dtype == MEFT_BF16 || dtype == MEFT_F16) return 2;
    fail(MEFT_INVALID, "%s has dtype %d, expected MEFT_F32, MEFT_BF16 or MEFT_F16", name, dtype);
}

}  // namespace

int64_t map_file(const char *path, int64_t *bytes) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(MEFT_IO, "cannot open %s: %s", path, std::strerror(errno));
    struct stat status;
    if (fstat(file, &status) != 0) {
        const int error = errno;
        close(file);
        fail(MEFT_IO, "cannot read the size of %s: %s", path, std::strerror(error));
    }
    char *data = nullptr;
    if (status.st_size > 0) {
        void *mapped = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
        const int error = errno;
        close(file);
        if (mapped == MAP_FAILED) fail(MEFT_IO, "cannot map %s: %s", path, std::strerror(error));
        data = static_cast<char *>(mapped);
    } else {
        close(file);
    }
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const int64_t handle = next_handle++;
    mappings()[handle] = {data, status.st_size};
    bytes_mapped += status.st_size;
    *bytes = status.st_size;
    return handle;
}

void unmap_file(int64_t handle) {
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const auto found = mappings().find(handle);
    if (found == mappings().end()) fail(MEFT_INVALID, "handle %" PRId64 " names no mapped file", handle);
    if (found->second.data != nullptr) munmap(found->second.data, static_cast<size_t>(found->second.bytes));
    bytes_mapped -= found->second.bytes;
    mappings().erase(found);
}

int64_t mapped_bytes() {
    std::lock_guard<std::mutex> lock(mappings_mutex);
    return bytes_mapped;
}

const char *mapped_range(int64_t handle, int64_t offset, int64_t bytes) {
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const auto found = mappings().find(handle);
    if (found == mappings().end()) fail(MEFT_INVALID, "handle %" PRId64 " names no mapped file", handle);
    const int64_t size = found->second.bytes;
    if (offset < 0 || bytes < 0 || offset > size || bytes > size - offset) {
        fail(MEFT_INVALID, "bytes %" PRId64 " to %" PRId64 " leave a mapped file of %" PRId64 " bytes", offset,
             offset + bytes, size);
    }
    return found->second.data + offset;
}

const void *weight_data(const char *name, const void *data, const meft_weight *w) {
    check_struct(name, w, sizeof *w);
    const int64_t element = element_bytes(name, w->dtype);
    if (w->rows < 0 || w->cols < 0 || w->row_stride < w->cols || w->offset_bytes < 0) {
        fail(MEFT_INVALID, "%s is %" PRId64 " x %" PRId64 " with row stride %" PRId64 " and offset %" PRId64, name,
             w->rows, w->cols, w->row_stride, w->offset_bytes);
    }
    const int64_t count = w->rows == 0 || w->cols == 0 ? 0 : (w->rows - 1) * w->row_stride + w->cols;
    if (w->handle != 0) return mapped_range(w->handle, w->offset_bytes, count * element);
    check_array(name, data, count);
    return static_cast<const char *>(data) + w->offset_bytes;
}

}  // namespace meft
