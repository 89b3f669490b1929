// SPDX-License-Identifier: Apache-2.0
#include "core/workspace.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace meft {

namespace {
constexpr int64_t kAlign = 64;
constexpr int64_t kSmallestBlock = int64_t(1) << 20;
}  // namespace

Workspace::~Workspace() {
    for (const Block &block : blocks_) std::free(block.data);
}

void *Workspace::take_bytes(int64_t bytes) {
    if (bytes < 0) throw std::bad_alloc();
    const int64_t need = std::max<int64_t>(kAlign, (bytes + kAlign - 1) / kAlign * kAlign);
    while (block_ < blocks_.size() && used_ + need > blocks_[block_].bytes) {
        ++block_;
        used_ = 0;
    }
    if (block_ == blocks_.size()) {
        const int64_t size = std::max({need, kSmallestBlock, held_});
        char *data = static_cast<char *>(std::aligned_alloc(kAlign, static_cast<size_t>(size)));
        if (data == nullptr) throw std::bad_alloc();
        blocks_.push_back({data, size});
        held_ += size;
        used_ = 0;
    }
    char *piece = blocks_[block_].data + used_;
    used_ += need;
    return piece;
}

}  // namespace meft
