// SPDX-License-Identifier: Apache-2.0
// Scratch memory of a context: a stack of 64-byte aligned pieces that only ever grows to its high-water mark. Between
// calls it is one block: several, made as a call found that it needed more, become one of their joint use.
//
// With MEFT_CHECK_WORKSPACE=1 when the context is made, as tests have it, every piece begins full of NaN and is followed
// by a guard; a call that wrote over one fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace meft {

class Workspace {
public:
    // Pieces taken inside a Frame are given back when it ends. Call only from the thread that entered the
    // context, before the work is shared out: pieces per thread are cut from one piece.
    class Frame {
    public:
        explicit Frame(Workspace &owner)
            : owner_(owner), block_(owner.block_), used_(owner.used_), guards_(owner.guards_.size()) {}
        ~Frame() {
            owner_.block_ = block_;
            owner_.used_ = used_;
            owner_.drop_guards(guards_);
        }
        Frame(const Frame &) = delete;
        Frame &operator=(const Frame &) = delete;
        // count elements of T, uninitialised, 64-byte aligned. Throws Failure when the system refuses them.
        template <class T> T *take(int64_t count) {
            return static_cast<T *>(owner_.take_bytes(count * static_cast<int64_t>(sizeof(T))));
        }

    private:
        Workspace &owner_;
        size_t block_;
        int64_t used_;
        size_t guards_;
    };

    Workspace();
    ~Workspace();
    Workspace(const Workspace &) = delete;
    Workspace &operator=(const Workspace &) = delete;
    int64_t bytes_held() const { return held_; }
    // Gives back every piece, at the start of a call: a failed allocation unwinds through kernels, which are compiled
    // without exceptions, and so past their Frames.
    void reset() {
        block_ = 0;
        used_ = 0;
        guards_.clear();
        overrun_ = false;
        if (blocks_.size() > 1) release_all();
    }
    // At the end of a call. Throws Failure when a guard was written over.
    void check_overrun() const;

private:
    struct Block {
        char *data;
        int64_t bytes;
        int64_t left_at;  // bytes that were used of it when the next block was begun
    };
    struct Guard {
        const unsigned char *begin, *end;
    };
    void *take_bytes(int64_t bytes);
    void release_all();
    void drop_guards(size_t kept);

    const bool checked_;
    bool overrun_ = false;
    std::vector<Guard> guards_;  // of the pieces in use
    std::vector<Block> blocks_;
    size_t block_ = 0;   // block in use
    int64_t used_ = 0;   // bytes used of it
    int64_t held_ = 0;
    int64_t most_ = 0;   // bytes in use at once, at most, without what is left at the ends of blocks
};

}  // namespace meft
