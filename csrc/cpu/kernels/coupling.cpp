// SPDX-License-Identifier: Apache-2.0
// Residual streams in fixed point: couplings, and their exact inverse. All work is on whole groups, of which the last one
// is made full with zeros; what a thread packs lies in cache lines of its own.
#include "kernels/coupling.h"

#include "core/pool.h"
#include "cpu/fixed_point.h"

namespace meft {
namespace MEFT_TARGET_NS {

namespace {

constexpr int64_t kChunk = 16 * kCouplingGroup;
constexpr int kRowVectors = kCouplingLanes / kLanes;

// Scales of one call, in every lane.
struct Scales {
    vf per_unit, unit, limit;
    int32_t shift;

    explicit Scales(CouplingScale scale)
        : per_unit(set1(scale.per_unit())), unit(set1(scale.unit())), limit(set1(kCouplingLimit * scale.unit())),
          shift(scale.shift) {}
};

// What a thread saw of a call.
struct ThreadAccount {
    int64_t misfits;
    int32_t largest;

    void add(const Misfits &seen) {
        for (int i = 0; i < kLanes; ++i) {
            misfits += seen.count[i];
            largest = seen.largest[i] > largest ? seen.largest[i] : largest;
        }
    }
};

// body(begin, end, thread's account) on chunks; what all saw goes to `account`, the same whoever saw it.
template <class Body>
void accounted_chunks(meft_ctx &lane, float *account, int64_t count, Body &&body) {
    Workspace::Frame frame(lane.workspace);
    ThreadAccount *seen = frame.take<ThreadAccount>(lane.threads);
    for (int32_t thread = 0; thread < lane.threads; ++thread) seen[thread] = {0, 0};
    parallel_chunks(lane, count, kChunk, [&](int64_t begin, int64_t end, int32_t thread) {
        Misfits misfits;
        body(begin, end, misfits);
        seen[thread].add(misfits);
    });
    ThreadAccount all = {0, 0};
    for (int32_t thread = 0; thread < lane.threads; ++thread) {
        all.misfits += seen[thread].misfits;
        all.largest = seen[thread].largest > all.largest ? seen[thread].largest : all.largest;
    }
    const float misfits = account[0] + float(all.misfits);
    account[0] = misfits < kMostMisfits ? misfits : kMostMisfits;
    const float largest = uint32_t(all.largest) > 0x7f800000u ? bits_float(kQuietNan) : bits_float(uint32_t(all.largest));
    if (!(largest <= account[1]) && account[1] == account[1]) account[1] = largest;
}

void to_fixed(meft_ctx &lane, int32_t *s, float *account, const float *x, int64_t count, int32_t fraction) {
    lane.ran_target = kTarget;
    const Scales scales({fraction, 0});
    accounted_chunks(lane, account, count, [=](int64_t begin, int64_t end, Misfits &misfits) {
        each_vector(begin, end, [&](int64_t i, auto lanes) {
            const vf value = load(x + i, lanes);
            misfits.add(absolute(value), scales.limit);
            store(reinterpret_cast<float *>(s + i), (vf)to_ints(mul(value, scales.per_unit)), lanes);
        });
    });
}

void from_fixed(meft_ctx &lane, float *x, const int32_t *s, int64_t count, int32_t fraction) {
    lane.ran_target = kTarget;
    const Scales scales({fraction, 0});
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        each_vector(begin, end, [&](int64_t i, auto lanes) {
            const vi value = (vi)load(reinterpret_cast<const float *>(s + i), lanes);
            store(x + i, mul(to_floats(value), scales.unit), lanes);
        });
    });
}

// Bits of rows of a group, one row after the other, on their way to words.
class BitWriter {
public:
    BitWriter(int32_t *words, int32_t shift) : words_(words), shift_(shift), place_(0) {
        for (int v = 0; v < kRowVectors; ++v) held_[v] = vu{};
    }
    // The lowest `shift` bits of each element of a row.
    void put(const vu *bits) {
        for (int v = 0; v < kRowVectors; ++v) held_[v] |= bits[v] << place_;
        place_ += shift_;
        if (place_ < 32) return;
        place_ -= 32;
        for (int v = 0; v < kRowVectors; ++v) {
            store_ints(words_ + v * kLanes, (vi)held_[v]);
            held_[v] = place_ > 0 ? bits[v] >> (shift_ - place_) : vu{};
        }
        words_ += kCouplingLanes;
    }

private:
    int32_t *words_;
    const int32_t shift_;
    int32_t place_;
    vu held_[kRowVectors];
};

// The same bits, one row after the other.
class BitReader {
public:
    BitReader(const int32_t *words, int32_t shift) : words_(words), shift_(shift), left_(0) {
        for (int v = 0; v < kRowVectors; ++v) held_[v] = vu{};
    }
    void get(vu *bits) {
        const vu mask = vu{} + ((1u << shift_) - 1);
        if (left_ >= shift_) {
            for (int v = 0; v < kRowVectors; ++v) bits[v] = held_[v] & mask, held_[v] >>= shift_;
            left_ -= shift_;
            return;
        }
        for (int v = 0; v < kRowVectors; ++v) {
            const vu next = (vu)load_ints(words_ + v * kLanes);
            bits[v] = (held_[v] | next << left_) & mask;
            held_[v] = next >> (shift_ - left_);
        }
        left_ += 32 - shift_;
        words_ += kCouplingLanes;
    }

private:
    const int32_t *words_;
    const int32_t shift_;
    int32_t left_;           // bits of each lane that are held
    vu held_[kRowVectors];  // above them zeros
};

// One group forward. Each row is read before its place is written.
template <bool kView>
void couple_group(int32_t *y, int32_t *dropped, float *view, const int32_t *x, const float *f, const Scales &scales,
                  Misfits &misfits) {
    BitWriter writer(dropped, scales.shift);
    const vi mask = ints((1 << scales.shift) - 1);
    for (int row = 0; row < kCouplingRows; ++row) {
        vu bits[kRowVectors];
        for (int v = 0; v < kRowVectors; ++v) {
            const int i = row * kCouplingLanes + v * kLanes;
            const vi whole = load_ints(x + i), kept = whole >> scales.shift;
            const vf added = load(f + i), size = absolute(added);
            const vf sum = absolute(add(mul(to_floats(kept), scales.unit), added));
            misfits.add(select_gt(size, sum, size, sum), scales.limit);
            const vi out = wrapped_sum(kept, to_ints(mul(added, scales.per_unit)));
            bits[v] = (vu)(whole & mask);
            store_ints(y + i, out);
            if (kView) store(view + i, mul(to_floats(out), scales.unit));
        }
        writer.put(bits);
    }
}

void uncouple_group(int32_t *x, const int32_t *y, const int32_t *dropped, const float *f, const Scales &scales) {
    BitReader reader(dropped, scales.shift);
    for (int row = 0; row < kCouplingRows; ++row) {
        vu bits[kRowVectors];
        reader.get(bits);
        for (int v = 0; v < kRowVectors; ++v) {
            const int i = row * kCouplingLanes + v * kLanes;
            const vi kept = wrapped_difference(load_ints(y + i), to_ints(mul(load(f + i), scales.per_unit)));
            store_ints(x + i, (vi)((vu)kept << scales.shift | bits[v]));
        }
    }
}

// Room for the last group of an array.
struct LastGroup {
    int32_t from[kCouplingGroup], to[kCouplingGroup];
    float f[kCouplingGroup], view[kCouplingGroup];

    LastGroup(const int32_t *s, const float *added, int64_t count) {
        std::memset(from, 0, sizeof from);
        std::memset(f, 0, sizeof f);
        std::memcpy(from, s, size_t(count) * sizeof *from);
        std::memcpy(f, added, size_t(count) * sizeof *f);
    }
    void give(int32_t *s, float *floats, int64_t count) const {
        std::memcpy(s, to, size_t(count) * sizeof *to);
        if (floats != nullptr) std::memcpy(floats, view, size_t(count) * sizeof *view);
    }
};

template <class Pointer>
Pointer at(Pointer p, int64_t i) { return p == nullptr ? p : p + i; }

template <bool kView>
void forward_of(meft_ctx &lane, int32_t *y, int32_t *dropped, float *view, float *account, const int32_t *x,
                const float *f, int64_t count, CouplingScale scale) {
    const Scales scales(scale);
    accounted_chunks(lane, account, count, [=](int64_t begin, int64_t end, Misfits &misfits) {
        for (int64_t i = begin; i < end; i += kCouplingGroup) {
            int32_t *words = at(dropped, i / kCouplingRows * scale.shift);
            if (i + kCouplingGroup <= end) {
                couple_group<kView>(y + i, words, at(view, i), x + i, f + i, scales, misfits);
            } else {
                LastGroup last(x + i, f + i, end - i);
                couple_group<kView>(last.to, words, last.view, last.from, last.f, scales, misfits);
                last.give(y + i, at(view, i), end - i);
            }
        }
    });
}

void inverse(meft_ctx &lane, int32_t *x, const int32_t *y, const int32_t *dropped, const float *f, int64_t count,
             CouplingScale scale) {
    lane.ran_target = kTarget;
    const Scales scales(scale);
    parallel_chunks(lane, count, kChunk, [=](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = begin; i < end; i += kCouplingGroup) {
            const int32_t *words = at(dropped, i / kCouplingRows * scale.shift);
            if (i + kCouplingGroup <= end) {
                uncouple_group(x + i, y + i, words, f + i, scales);
            } else {
                LastGroup last(y + i, f + i, end - i);
                uncouple_group(last.to, last.from, words, last.f, scales);
                last.give(x + i, nullptr, end - i);
            }
        }
    });
}

void forward(meft_ctx &lane, int32_t *y, int32_t *dropped, float *view, float *account, const int32_t *x,
             const float *f, int64_t count, CouplingScale scale) {
    lane.ran_target = kTarget;
    if (count == 0) return;
    (view != nullptr ? forward_of<true> : forward_of<false>)(lane, y, dropped, view, account, x, f, count, scale);
}

}  // namespace

extern const coupling_kernels coupling_table;
const coupling_kernels coupling_table = {to_fixed, from_fixed, forward, inverse};

}  // namespace MEFT_TARGET_NS
}  // namespace meft
