// SPDX-License-Identifier: Apache-2.0
// Files mapped read-only, known by handles that are checked on every use and never reused.
#pragma once

#include <cstdint>

#include "meft.h"

namespace meft {

int64_t map_file(const char *path, int64_t *bytes);
void unmap_file(int64_t handle);
int64_t mapped_bytes();

// Between these two, on one thread, no file is unmapped: held by every call, so that closing a file that a call on
// another lane is reading waits for that call. unmap_file may not be called in between.
void files_hold();
void files_release();
// At the end of a call: fails when a file that mapped_range named since files_hold is no longer what was mapped, because
// it was cut, written to, or could not be read, be it before the call or meanwhile. What the call computed is then void; a
// page that was gone read as zeros (core/fault.h), so that nothing crashed.
void files_unchanged();

// The address of [offset, offset + bytes) of a mapped file. Fails when the handle is stale, the range leaves the file, or
// an earlier call found that the file is no longer what was mapped.
const char *mapped_range(int64_t handle, int64_t offset, int64_t bytes);

// The first element of a weight, checked against its descriptor: dtype, sizes, and the mapped range.
// name stands in the error text. data may be null only with a handle.
const void *weight_data(const char *name, const void *data, const meft_weight *descriptor);

// A weight as stored, its first element found. Kernels trust it.
struct StoredWeight {
    const void *data;
    int64_t rows;
    int64_t cols;
    int64_t stride;  // elements between rows
    int32_t dtype;
};

StoredWeight stored_weight(const char *name, const void *data, const meft_weight *descriptor);

// A bias of `cols` elements; one without data where both are null.
StoredWeight stored_bias(const void *data, const meft_weight *descriptor, int64_t cols);

}  // namespace meft
