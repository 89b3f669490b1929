// SPDX-License-Identifier: Apache-2.0
// Device memory as the host sees it: every block is paired with a *shadow*, an address range of the same size that the
// host can name but not touch. Callers carve arrays out of shadows and pass them like any other; what runs on the
// device finds the device's address. A host address is in no shadow. All bytes are booked by class.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/runtime/runtime.h"

namespace meft {
namespace cuda {

// Device memory of a class ("weights"), by its shadow's address. Throws OUT_OF_MEMORY with what asked and who holds
// what.
void *reserve_shadow(int64_t bytes, const std::string &class_name);
// Gives a block back by its shadow's address; work that uses it must be done.
void release_shadow(void *shadow);

// Host memory that copies reach beside other work; booked as "pinned".
void *reserve_pinned(int64_t bytes);
void release_pinned_block(void *memory);
bool is_pinned(const void *host, int64_t bytes);

// The device's address of bytes that begin at `pointer`; null when it is the host's. Throws when they leave the block.
void *device_address(const void *pointer, int64_t bytes);

// A piece of device memory in the order of a stream's work, booked as "workspace".
void *take_workspace(cudaStream_t stream, int64_t bytes);
void give_workspace(cudaStream_t stream, void *memory, int64_t bytes) noexcept;

// JSON: {"class":"activations","bytes":..}, the last request that was refused for want of memory, or null.
std::string refused_text();
// JSON: {"weights":{"bytes":..,"peakBytes":..}, ...}, classes in alphabetical order.
std::string ledger_text();
// Peaks become what is held now.
void reset_peaks();

}  // namespace cuda
}  // namespace meft
