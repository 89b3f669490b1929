// SPDX-License-Identifier: Apache-2.0
// Barriers and warp collectives between the fibers of a block. The last partner to come computes every result and makes
// the others ready. Stricter than hardware on purpose: partners must stand at the same source line, and a thread that
// has exited is missed by all who still wait.
#pragma once

#include "cuda/launch/fibers.h"

namespace meft_emulated {

// A barrier of the whole block; returns how many threads brought a vote.
inline int block_vote(int vote, const char *file, int line) {
    Worker &w = *worker;
    Fiber &me = *self;
    w.votes += vote != 0;
    me.file = file;
    me.line = line;
    for (const Fiber &f : w.fibers) {  // one partner is enough: the others were compared with it
        if (f.wait != Wait::block) continue;
        if (f.line != line || std::strcmp(f.file, file) != 0) {
            fail_block("barriers differ: thread %d at %s:%d, thread %d at %s:%d", f.index, f.file, f.line, me.index,
                       file, line);
        }
        break;
    }
    if (++w.arrived < w.threads) {
        me.wait = Wait::block;
        give_way();
        return int(self->result);
    }
    for (Fiber &f : w.fibers) {
        f.result = uint64_t(w.votes);
        if (f.wait == Wait::block) f.wait = Wait::ready;
    }
    w.arrived = w.votes = 0;
    return int(me.result);
}

inline bool reduces(Op op) { return op >= Op::add && op <= Op::bit_xor; }

inline uint32_t reduce_two(Op op, uint32_t a, uint32_t b) {
    switch (op) {
        case Op::add: return a + b;
        case Op::min: return std::min(a, b);
        case Op::max: return std::max(a, b);
        case Op::min_signed: return uint32_t(std::min(int32_t(a), int32_t(b)));
        case Op::max_signed: return uint32_t(std::max(int32_t(a), int32_t(b)));
        case Op::bit_and: return a & b;
        case Op::bit_or: return a | b;
        default: return a ^ b;
    }
}

// What a lane gets from a collective whose partners have all come.
inline uint64_t lane_result(const Fiber *lanes, const Fiber &f, uint64_t common) {
    if (f.op == Op::shuffle) {
        if (f.source < 0) return f.value;
        if (f.mask >> f.source & 1) return lanes[f.source].value;
        fail_block("a shuffle reads lane %d outside the mask: thread %d at %s:%d", f.source, f.index, f.file, f.line);
    }
    if (f.op != Op::match) return common;
    uint64_t same = 0;
    for (uint32_t m = f.mask; m != 0; m &= m - 1) {
        const int lane = __builtin_ctz(m);
        same |= uint64_t(lanes[lane].value == f.value) << lane;
    }
    return same;
}

inline void resolve(Fiber *lanes, uint32_t mask, Op op, Resolver resolver) {
    uint64_t common = 0;
    void *operands[32] = {};
    bool first = true;
    for (uint32_t m = mask; m != 0; m &= m - 1) {
        const int lane = __builtin_ctz(m);
        const uint64_t value = lanes[lane].value;
        if (op == Op::ballot) common |= uint64_t(value != 0) << lane;
        if (op == Op::custom) operands[lane] = reinterpret_cast<void *>(value);
        if (reduces(op)) common = first ? uint32_t(value) : reduce_two(op, uint32_t(common), uint32_t(value));
        first = false;
    }
    if (op == Op::custom) resolver(operands, mask);
    for (uint32_t m = mask; m != 0; m &= m - 1) {
        Fiber &f = lanes[__builtin_ctz(m)];
        f.result = lane_result(lanes, f, common);
        f.wait = Wait::ready;
    }
}

// Every lane of the mask brings an operand. source: the lane a shuffle reads, negative for its own.
inline uint64_t collect(uint32_t mask, Op op, uint64_t value, int source, const char *file, int line,
                        Resolver resolver = nullptr) {
    Fiber &me = *self;
    const int lane = me.index & 31, base = me.index - lane, width = std::min(32, worker->threads - base);
    me.op = op;
    me.mask = mask;
    me.value = value;
    me.source = source;
    me.file = file;
    me.line = line;
    if (!(mask >> lane & 1)) fail_block("thread %d at %s:%d is not in its own mask", me.index, file, line);
    if (width < 32 && mask >> width) {
        if (mask != 0xffffffffu)
            fail_block("a mask names lanes that are not there: thread %d at %s:%d", me.index, file, line);
        mask = me.mask = (1u << width) - 1;  // hardware ignores the missing lanes of a short last warp
    }
    Fiber *lanes = &worker->fibers[base];
    for (uint32_t m = mask; m != 0; m &= m - 1) {
        Fiber &f = lanes[__builtin_ctz(m)];
        if (&f == &me) continue;
        if (f.wait == Wait::done && f.started) {
            fail_block("thread %d at %s:%d waits for thread %d, which has exited", me.index, file, line, f.index);
        }
        if (f.wait != Wait::warp || f.mask != mask) {
            me.wait = Wait::warp;
            give_way();
            return me.result;
        }
        if (f.op != op) {
            fail_block("lanes of one mask are at different collectives: thread %d at %s:%d, thread %d at %s:%d",
                       f.index, f.file, f.line, me.index, file, line);
        }
    }
    resolve(lanes, mask, op, resolver);
    return me.result;
}

template <class T>
uint64_t to_bits(T v) {
    static_assert(sizeof(T) <= 8, "a shuffle carries at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &v, sizeof v);
    return bits;
}

template <class T>
T shuffle(unsigned mask, T v, int source, bool inside, const char *file, int line) {
    const uint64_t bits = collect(mask, Op::shuffle, to_bits(v), inside ? source : -1, file, line);
    T out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
}

inline int lane_index() { return self->index & 31; }

}  // namespace meft_emulated

#define MEFT_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(MEFT_HERE) { meft_emulated::block_vote(0, file, line); }
inline int __syncthreads_count(int p, MEFT_HERE) { return meft_emulated::block_vote(p, file, line); }
inline int __syncthreads_or(int p, MEFT_HERE) { return meft_emulated::block_vote(p, file, line) > 0; }
inline int __syncthreads_and(int p, MEFT_HERE) {
    return meft_emulated::block_vote(p, file, line) == meft_emulated::worker->threads;
}
inline void __syncwarp(unsigned mask = ~0u, MEFT_HERE) {
    meft_emulated::collect(mask, meft_emulated::Op::sync, 0, -1, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int p, MEFT_HERE) {
    return unsigned(meft_emulated::collect(mask, meft_emulated::Op::ballot, p != 0, -1, file, line));
}
inline int __any_sync(unsigned mask, int p, MEFT_HERE) { return __ballot_sync(mask, p, file, line) != 0; }
inline int __all_sync(unsigned mask, int p, MEFT_HERE) { return __ballot_sync(mask, !p, file, line) == 0; }
template <class T>
unsigned __match_any_sync(unsigned mask, T v, MEFT_HERE) {
    return unsigned(meft_emulated::collect(mask, meft_emulated::Op::match, meft_emulated::to_bits(v), -1, file, line));
}
template <class T>
T __shfl_sync(unsigned mask, T v, int source, int width = 32, MEFT_HERE) {
    const int first = meft_emulated::lane_index() & ~(width - 1);
    return meft_emulated::shuffle(mask, v, first + (source & (width - 1)), true, file, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int x, int width = 32, MEFT_HERE) {
    const int lane = meft_emulated::lane_index(), source = lane ^ x;
    return meft_emulated::shuffle(mask, v, source, source < (lane & ~(width - 1)) + width, file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, MEFT_HERE) {
    const int lane = meft_emulated::lane_index(), source = lane - int(by);
    return meft_emulated::shuffle(mask, v, source, source >= (lane & ~(width - 1)), file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, MEFT_HERE) {
    const int lane = meft_emulated::lane_index(), source = lane + int(by);
    return meft_emulated::shuffle(mask, v, source, source < (lane & ~(width - 1)) + width, file, line);
}
#define MEFT_REDUCE(word, type, op)                                                                    \
    inline type __reduce_##word##_sync(unsigned mask, type v, MEFT_HERE) {                             \
        return type(meft_emulated::collect(mask, meft_emulated::Op::op, uint32_t(v), -1, file, line)); \
    }
MEFT_REDUCE(add, unsigned, add)
MEFT_REDUCE(add, int, add)
MEFT_REDUCE(min, unsigned, min)
MEFT_REDUCE(min, int, min_signed)
MEFT_REDUCE(max, unsigned, max)
MEFT_REDUCE(max, int, max_signed)
MEFT_REDUCE(and, unsigned, bit_and)
MEFT_REDUCE(or, unsigned, bit_or)
MEFT_REDUCE(xor, unsigned, bit_xor)
#undef MEFT_REDUCE
