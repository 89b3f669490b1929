// SPDX-License-Identifier: Apache-2.0
#include "core/workspace.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/guard.h"

namespace meft {

namespace {
constexpr int64_t kAlign = 64;
constexpr int64_t kSmallestBlock = int64_t(1) << 20;
constexpr int kNan = 0xff;          // as every byte of a float
constexpr int kGuard = 0xa5;        // as every byte of a guard
constexpr int64_t kGuardBytes = 256;  // four vectors of the widest target

bool asked_to_check() {
    const char *text = std::getenv("MEFT_CHECK_WORKSPACE");
    return text != nullptr && text[0] == '1';
}

[[noreturn]] void fail_refused(int64_t bytes, int64_t held) {
    const double mib = 1 << 20;
    fail(MEFT_OUT_OF_MEMORY, "not enough memory: asked for %.1f MiB of workspace, %.1f MiB are held", double(bytes) / mib,
         double(held) / mib);
}
}  // namespace

Workspace::Workspace() : checked_(asked_to_check()) {}
Workspace::~Workspace() { release_all(); }

void Workspace::drop_guards(size_t kept) {
    for (; guards_.size() > kept; guards_.pop_back()) {
        const Guard &guard = guards_.back();
        if (std::any_of(guard.begin, guard.end, [](unsigned char byte) { return byte != kGuard; })) overrun_ = true;
    }
}

void Workspace::check_overrun() const {
    if (overrun_) fail(MEFT_INTERNAL, "a kernel wrote past the end of a piece of its workspace");
}

void Workspace::release_all() {
    for (const Block &block : blocks_) std::free(block.data);
    blocks_.clear();
    held_ = 0;
}

void *Workspace::take_bytes(int64_t bytes) {
    if (bytes < 0) throw std::bad_alloc();
    const int64_t asked = bytes + (checked_ ? kGuardBytes : 0);
    const int64_t need = std::max<int64_t>(kAlign, (asked + kAlign - 1) / kAlign * kAlign);
    // Nothing is in use and the block is too small: a larger one takes its place.
    if (block_ == 0 && used_ == 0 && !blocks_.empty() && blocks_[0].bytes < need) release_all();
    while (block_ < blocks_.size() && used_ + need > blocks_[block_].bytes) {
        blocks_[block_].left_at = used_;
        ++block_;
        used_ = 0;
    }
    if (block_ == blocks_.size()) {
        const int64_t size = std::max({need, kSmallestBlock, held_ == 0 ? most_ : 0});
        char *data = static_cast<char *>(std::aligned_alloc(kAlign, static_cast<size_t>(size)));
        if (data == nullptr) fail_refused(size, held_);
        blocks_.push_back({data, size, 0});
        held_ += size;
        used_ = 0;
    }
    char *piece = blocks_[block_].data + used_;
    used_ += need;
    int64_t in_use = used_;
    for (size_t i = 0; i < block_; ++i) in_use += blocks_[i].left_at;
    most_ = std::max(most_, in_use);
    if (checked_) {
        std::memset(piece, kNan, size_t(bytes));
        std::memset(piece + bytes, kGuard, size_t(need - bytes));
        const auto *at = reinterpret_cast<const unsigned char *>(piece);
        guards_.push_back({at + bytes, at + need});
    }
    return piece;
}

}  // namespace meft
