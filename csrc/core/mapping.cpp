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
#include <shared_mutex>

#include "core/guard.h"

namespace meft {

namespace {

struct Mapping {
    char *data;
    int64_t bytes;
    int file;  // kept open: its size is checked on every use
};

std::shared_mutex files_in_use;  // shared by calls, exclusive to unmap
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
    char *data = nullptr;
    struct stat status;
    const char *reason = nullptr;
    if (fstat(file, &status) != 0) {
        reason = std::strerror(errno);
    } else if (!S_ISREG(status.st_mode)) {
        reason = "it is not a regular file";
    } else if (status.st_size > 0) {
        void *mapped = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
        if (mapped == MAP_FAILED) {
            reason = std::strerror(errno);
        } else {
            data = static_cast<char *>(mapped);
        }
    }
    if (reason != nullptr) {
        close(file);
        fail(MEFT_IO, "cannot map %s: %s", path, reason);
    }
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const int64_t handle = next_handle++;
    mappings()[handle] = {data, status.st_size, file};
    bytes_mapped += status.st_size;
    *bytes = status.st_size;
    return handle;
}

void unmap_file(int64_t handle) {
    std::unique_lock<std::shared_mutex> unused(files_in_use);
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const auto found = mappings().find(handle);
    if (found == mappings().end()) fail(MEFT_INVALID, "handle %" PRId64 " names no mapped file", handle);
    if (found->second.data != nullptr) munmap(found->second.data, static_cast<size_t>(found->second.bytes));
    close(found->second.file);
    bytes_mapped -= found->second.bytes;
    mappings().erase(found);
}

void files_hold() { files_in_use.lock_shared(); }
void files_release() { files_in_use.unlock_shared(); }

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
    struct stat now;
    if (fstat(found->second.file, &now) != 0 || now.st_size < offset + bytes) {
        fail(MEFT_IO, "a mapped file of %" PRId64 " bytes was cut to %" PRId64 " bytes while in use", size,
             static_cast<int64_t>(now.st_size));
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
    int64_t count = 0, bytes = 0;
    if (w->rows > 0 && w->cols > 0 &&
        (__builtin_mul_overflow(w->rows - 1, w->row_stride, &count) ||
         __builtin_add_overflow(count, w->cols, &count) || __builtin_mul_overflow(count, element, &bytes))) {
        fail(MEFT_INVALID, "%s is %" PRId64 " x %" PRId64 ", more than memory can hold", name, w->rows, w->cols);
    }
    if (w->handle != 0) return mapped_range(w->handle, w->offset_bytes, bytes);
    check_array(name, data, count);
    return static_cast<const char *>(data) + w->offset_bytes;
}

StoredWeight stored_weight(const char *name, const void *data, const meft_weight *descriptor) {
    const void *first = weight_data(name, data, descriptor);
    return {first, descriptor->rows, descriptor->cols, descriptor->row_stride, descriptor->dtype};
}

}  // namespace meft
