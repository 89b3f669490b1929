// SPDX-License-Identifier: Apache-2.0
// What differs between the libraries that share csrc/core and csrc/api: libmeft, whose lanes are the process's threads
// (csrc/cpu), and the CUDA libraries, whose lanes are streams of a device (csrc/cuda). Each implements this once.
#pragma once

#include <string>

#include "core/context.h"

namespace meft {

// Fills in target, kernels and what the lane holds. Throws Failure; then it holds nothing.
void open_lane(meft_ctx &ctx, const meft_ctx_params &params);
// Gives back what open_lane took.
void close_lane(meft_ctx &ctx) noexcept;
// What the library says of itself: members of a JSON object, without its braces.
std::string build_facts();

// ---- memory of the device, csrc/api/device.cpp ----

// One JSON object: what the lane's device is, and the bytes held on it by class.
std::string device_facts_text(meft_ctx &ctx);
// Address of bytes of the device, which the host may name but not touch; booked under a class.
void *device_reserve(meft_ctx &ctx, int64_t bytes, const char *class_name);
void device_release(meft_ctx &ctx, void *address);
// Host memory that copies reach beside other work.
void *pinned_reserve(meft_ctx &ctx, int64_t bytes);
void pinned_release(meft_ctx &ctx, void *address);
// Each side is the host's or the device's. Issued; done on return when a side is host memory that is not pinned.
void copy_bytes(meft_ctx &ctx, void *to, const void *from, int64_t bytes);
void zero_bytes(meft_ctx &ctx, void *to, int64_t bytes);
// Waits for all work that the lane was given.
void wait_for_lane(meft_ctx &ctx);
// Events: record marks the work given so far; a lane or the host waits for it, or asks. Numbers belong to the process.
int64_t event_create(bool timed);
void event_destroy(int64_t event);
void event_record(meft_ctx &ctx, int64_t event);
void event_lane_waits(meft_ctx &ctx, int64_t event);
void event_host_waits(int64_t event);
bool event_done(int64_t event);
// Of two timed events whose work is done.
double event_elapsed_ms(int64_t begin, int64_t end);
// Peaks of the books become what is held now.
void reset_device_peaks();

}  // namespace meft
