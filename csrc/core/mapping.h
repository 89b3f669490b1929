// SPDX-License-Identifier: Apache-2.0
// Files mapped read-only, known by handles that are checked on every use and never reused.
#pragma once

#include <cstdint>

#include "meft.h"

namespace meft {

int64_t map_file(const char *path, int64_t *bytes);
void unmap_file(int64_t handle);
int64_t mapped_bytes();

// The address of [offset, offset + bytes) of a mapped file. Fails when the handle is stale or the range leaves it.
const char *mapped_range(int64_t handle, int64_t offset, int64_t bytes);

// The first element of a weight, checked against its descriptor: dtype, sizes, and the mapped range.
// name stands in the error text. data may be null only with a handle.
const void *weight_data(const char *name, const void *data, const meft_weight *descriptor);

}  // namespace meft
