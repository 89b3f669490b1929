// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernel.h"

namespace meft {
namespace cuda {

void *Operands::place(void *data, int64_t bytes, bool read, bool written) {
    if (data == nullptr || bytes == 0) return data;
    void *device = device_address(data, bytes);
    if (device != nullptr) return device;
    device = take(bytes);
    if (read) copy(device, data, bytes, Way::up, stream);
    if (written) pieces_.back().host = data;
    return device;
}

void *Operands::take(int64_t bytes) {
    if (bytes == 0) return nullptr;
    pieces_.reserve(pieces_.size() + 1);
    pieces_.push_back({take_workspace(stream, bytes), bytes, nullptr});
    return pieces_.back().device;
}

void Operands::finish() {
    bool down = false;
    for (const Piece &piece : pieces_) {
        if (piece.host == nullptr) continue;
        copy(piece.host, piece.device, piece.bytes, Way::down, stream);
        down = true;
    }
    if (down) synchronize(stream);
}

Operands::~Operands() {
    for (const Piece &piece : pieces_) give_workspace(stream, piece.device, piece.bytes);
}

}  // namespace cuda
}  // namespace meft
