// SPDX-License-Identifier: Apache-2.0
#include "core/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "core/fault.h"
#include "core/guard.h"

namespace meft {

namespace {

struct Mapping {
    std::string path;  // as it was opened, for error texts
    char *data = nullptr;
    int64_t bytes = 0;
    int file = -1;  // kept open: its size and time are checked after every use
    struct timespec written = {};
    WatchedRange *range = nullptr;  // null when the file is empty
    std::atomic<bool> changed{false};  // found so once: no later call may use it
    std::atomic<int> unseen{0};        // errno of a look at it that failed: later calls name the same cause
};

// What the call in flight on this thread reads. Mappings stay where they are while files are held.
constexpr int kMostUsed = 8;
struct UsedFiles {
    int count;
    Mapping *files[kMostUsed];
};
thread_local UsedFiles used;

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

[[noreturn]] void fail_changed(Mapping &mapping, const std::string &how) {
    mapping.changed.store(true);
    fail(MEFT_IO,
         "%s %s while in use, so that what was computed from it is void: put it back as it was, and run again (a "
         "training run goes on with --resume)",
         mapping.path.c_str(), how.c_str());
}

[[noreturn]] void fail_unseen(Mapping &mapping, int error) {
    mapping.unseen.store(error);
    fail_changed(mapping, std::string("could not be looked at (") + std::strerror(error) + ")");
}

// Fails when a file is no longer what was mapped. Its path may by now name another file, which is none of our business;
// its time of change (ctime) tells of renames, links and permissions too, so that of writing has to do.
void check_unchanged(Mapping &mapping) {
    struct stat now;
    if (fstat(mapping.file, &now) != 0) fail_unseen(mapping, errno);
    const int64_t size = now.st_size;
    if (size < mapping.bytes) {
        fail_changed(mapping, "was cut from " + std::to_string(mapping.bytes) + " to " + std::to_string(size) + " bytes");
    }
    const bool written = now.st_mtim.tv_sec != mapping.written.tv_sec || now.st_mtim.tv_nsec != mapping.written.tv_nsec;
    if (size > mapping.bytes || written) fail_changed(mapping, "was written to");
    if (mapping.range != nullptr && mapping.range->lost.load()) {
        fail_changed(mapping, "was cut, or its disk could not read it,");
    }
    if (const int error = mapping.unseen.load()) fail_unseen(mapping, error);
    if (mapping.changed.load()) fail_changed(mapping, "was cut or written to");
}

// Why the file was not mapped, or null. Fills in all of the mapping but its watch.
const char *map_into(Mapping &mapping) {
    struct stat status;
    if (fstat(mapping.file, &status) != 0) return std::strerror(errno);
    if (!S_ISREG(status.st_mode)) return "it is not a regular file";
    mapping.bytes = status.st_size;
    mapping.written = status.st_mtim;
    if (status.st_size == 0) return nullptr;
    void *data = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, mapping.file, 0);
    if (data == MAP_FAILED) return std::strerror(errno);
    mapping.data = static_cast<char *>(data);
    return nullptr;
}

// Notes a file for files_unchanged, once a call: one look at it costs as much as a small product.
void use(Mapping &mapping) {
    for (int i = 0; i < used.count; ++i) {
        if (used.files[i] == &mapping) return;
    }
    if (mapping.changed.load()) check_unchanged(mapping);
    if (used.count == kMostUsed) fail(MEFT_INTERNAL, "one call reads more than %d mapped files", kMostUsed);
    used.files[used.count++] = &mapping;
}

void unmap(Mapping &mapping) {
    if (mapping.range != nullptr) unwatch_range(mapping.range);
    if (mapping.data != nullptr) munmap(mapping.data, static_cast<size_t>(mapping.bytes));
    close(mapping.file);
}

}  // namespace

int64_t map_file(const char *path, int64_t *bytes) {
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const int64_t handle = next_handle++;
    Mapping &mapping = mappings()[handle];
    mapping.path = path;
    mapping.file = open(path, O_RDONLY | O_CLOEXEC);
    const char *action = mapping.file < 0 ? "open" : "map";
    const char *reason = mapping.file < 0 ? std::strerror(errno) : map_into(mapping);
    if (reason == nullptr && mapping.data != nullptr) {
        mapping.range = watch_range(mapping.data, static_cast<size_t>(mapping.bytes));
    }
    if (reason != nullptr) {
        if (mapping.file >= 0) close(mapping.file);
        mappings().erase(handle);
        fail(MEFT_IO, "cannot %s %s: %s", action, path, reason);
    }
    bytes_mapped += mapping.bytes;
    *bytes = mapping.bytes;
    return handle;
}

void unmap_file(int64_t handle) {
    std::unique_lock<std::shared_mutex> unused(files_in_use);
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const auto found = mappings().find(handle);
    if (found == mappings().end()) fail(MEFT_INVALID, "handle %" PRId64 " names no mapped file", handle);
    unmap(found->second);
    bytes_mapped -= found->second.bytes;
    mappings().erase(found);
}

void files_hold() {
    files_in_use.lock_shared();
    used.count = 0;
}
void files_release() { files_in_use.unlock_shared(); }

void files_unchanged() {
    for (int i = 0; i < used.count; ++i) check_unchanged(*used.files[i]);
}

int64_t mapped_bytes() {
    std::lock_guard<std::mutex> lock(mappings_mutex);
    return bytes_mapped;
}

const char *mapped_range(int64_t handle, int64_t offset, int64_t bytes) {
    std::lock_guard<std::mutex> lock(mappings_mutex);
    const auto found = mappings().find(handle);
    if (found == mappings().end()) fail(MEFT_INVALID, "handle %" PRId64 " names no mapped file", handle);
    Mapping &mapping = found->second;
    const int64_t size = mapping.bytes;
    if (offset < 0 || bytes < 0 || offset > size || bytes > size - offset) {
        fail(MEFT_INVALID, "bytes %" PRId64 " to %" PRId64 " leave a mapped file of %" PRId64 " bytes", offset,
             offset + bytes, size);
    }
    use(mapping);
    return mapping.data + offset;
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

StoredWeight stored_bias(const void *data, const meft_weight *descriptor, int64_t cols) {
    if (descriptor == nullptr) {
        if (data != nullptr) fail(MEFT_INVALID, "bias has data but bias_desc is null");
        return {nullptr, 0, 0, 0, MEFT_F32};
    }
    const StoredWeight bias = stored_weight("bias", data, descriptor);
    if (bias.rows != 1 || bias.cols != cols) {
        fail(MEFT_INVALID, "bias is %" PRId64 " x %" PRId64 ", expected 1 x %" PRId64, bias.rows, bias.cols, cols);
    }
    return bias;
}

}  // namespace meft
