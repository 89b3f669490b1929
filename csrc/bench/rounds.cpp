// SPDX-License-Identifier: Apache-2.0
// Parts of the sparse adapter and AdamW, one round for every line on standard input, each with the machine's limits
// measured right after it in the same process. `deno task bench kernels` asks, in turn with its other programs.
//
//   build/cpu/bench_parts [threads] [number of a target] <<< "score 4096x16384x64x4x64x1024"
//
//   score sum_values sum_by_token dots rows fused adamw step   DxMxNxrxKxT    (step: the whole adapter's step)
//   select COUNTxKEEP      one thread, a row of COUNT scores
//   adamw_dense COUNT      f32, COUNT parameters
//   adamw_touched DxROWSxPERCENT      that many rows of ROWS, increasing
//
// Prints {"seconds", "pairs", "touched", "f32Gflops", "bf16Gflops", "readGigabytes", "updateSeconds"} a line: seconds of
// one call, updateSeconds per parameter of the seven f32 streams of AdamW with trivial arithmetic.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "bench/parts.h"
#include "bench/sparse_step.h"
#include "bench/yardstick.h"
#include "cpu/targets.h"

namespace meft {
#define MEFT_TARGET(number, name, ...) \
    namespace name {                   \
    extern const PartTable part_table; \
    }
#include "cpu/targets.def"
#undef MEFT_TARGET
}  // namespace meft

namespace {

using bench::Shape;
using bench::Step;

const meft::PartTable &parts_of(int32_t target) {
    const meft::PartTable *tables[] = {
#define MEFT_TARGET(number, name, ...) MEFT_IF(MEFT_BUILT_##name, &meft::name::part_table, nullptr),
#include "cpu/targets.def"
#undef MEFT_TARGET
    };
    for (const meft::PartTable *table : tables) {
        if (table != nullptr && table->target == target) return *table;
    }
    std::exit(1);
}

// A step whose forward was taken, with what the parts read and write.
struct Prepared {
    Step step;
    std::vector<float> wide;
    std::vector<int32_t> neurons, offsets;
    std::vector<float> dots, scores;
    meft_adamw adam;
    meft::PartOperands x;

    Prepared(meft_ctx *lane, const Shape &shape, int32_t compute) : step(lane, shape, compute) {
        for (int part = 0; part < 3; ++part) step.run(lane, part);
        wide.resize(step.values.hi.size());
        meft_planes_join(lane, wide.data(), step.values.hi.data(), step.values.lo.data(), int64_t(wide.size()));
        neurons.resize(step.neurons.size());
        offsets.resize(step.offsets.size());
        dots.resize(step.dots.size());
        scores.resize(step.scores.size());
        x = {&step.params,
             step.h.data(),
             step.dy.data(),
             step.logits.data(),
             step.experts.data(),
             {step.offsets.data(), step.neurons.data(), step.dots.data(), step.scores.data()},
             {offsets.data(), neurons.data(), dots.data(), scores.data()},
             {step.keys.hi.data(), step.keys.lo.data()},
             {step.values.hi.data(), step.values.lo.data()},
             wide.data(),
             step.y.data(),
             step.dkeys.data(),
             step.dvalues.data(),
             step.slots.data(),
             state(step.keys),
             state(step.values),
             step.lr.data(),
             &adam};
    }
    meft::RowState state(bench::Planes &planes) {
        return {planes.hi.data(), planes.lo.data(),        planes.m.data(),
                planes.v.data(),  planes.last_step.data(), step.s.D};
    }
    void run(meft_ctx *lane, const meft::PartTable &parts, const std::string &name) {
        adam = step.next_step();
        if (name == "score") return parts.score(*lane, x);
        if (name == "sum_values") return parts.sum_values(*lane, x);
        if (name == "sum_by_token") return parts.sum_by_token(*lane, x);
        if (name == "dots") return parts.dots(*lane, x);
        if (name == "rows") return parts.rows(*lane, x);
        if (name == "fused") return parts.fused(*lane, x);
        if (name == "adamw") return step.run(lane, 4);
        for (int part = 0; part < 5; ++part) step.run(lane, part);
    }
};

// Kept between lines: filling them takes far longer than a round.
struct Bench {
    meft_ctx *lane;
    int threads;
    const meft::PartTable &parts;
    int32_t compute;
    std::string prepared_for;
    std::unique_ptr<Prepared> prepared;
    std::unique_ptr<bench::Planes> planes;
    std::string planes_for;
    std::vector<float> w, m, v, g;
    int64_t step = 0;
    std::vector<float> lr = std::vector<float>(1 << 16, 1e-4f);

    void fill(std::vector<float> &x, size_t count) {
        if (x.size() != count) bench::fill_normal(lane, x, int64_t(count), 3, 1e-2f);
    }
    meft_adamw next_step() {
        return {sizeof(meft_adamw), MEFT_ADAM_LAZY_EXACT, ++step, 0.9f, 0.999f, 1e-8f, 0, 1, 0};
    }
    // Seconds of one call, over at least 20 ms of calls.
    template <class Call>
    double seconds(int clock_threads, Call &&call) {
        const double start = yardstick::now(clock_threads);
        for (int calls = 1;; ++calls) {
            call();
            const double elapsed = yardstick::now(clock_threads) - start;
            if (elapsed >= 0.02) return elapsed / calls;
        }
    }

    double run(const std::string &name, const std::string &sizes) {
        long d[6] = {};
        const int read = std::sscanf(sizes.c_str(), "%ldx%ldx%ldx%ldx%ldx%ld", d, d + 1, d + 2, d + 3, d + 4, d + 5);
        if (name == "select" && read == 2) return select(d[0], d[1]);
        if (name == "adamw_dense" && read == 1) return adamw_dense(d[0]);
        if (name == "adamw_touched" && read == 3) return adamw_touched(d[0], d[1], d[2]);
        if (read != 6) {
            std::printf("{\"error\":\"%s %s\"}\n", name.c_str(), sizes.c_str());
            std::exit(1);
        }
        if (prepared_for != sizes) {
            prepared.reset();
            prepared = std::make_unique<Prepared>(lane, Shape{d[0], d[1], d[2], d[3], d[4], d[5]}, compute);
            prepared_for = sizes;
        }
        lane->workspace.reset();
        return seconds(threads, [&] { prepared->run(lane, parts, name); });
    }

    double select(int64_t count, int64_t keep) {
        const int64_t rows = std::max<int64_t>(8, (1 << 20) / count);
        fill(w, size_t(rows * count));
        std::vector<float> best(1 << 13);
        std::vector<int32_t> ids(1 << 12);
        return seconds(1, [&] { parts.select(w.data(), rows, count, keep, best.data(), ids.data()); }) / double(rows);
    }

    double adamw_dense(int64_t count) {
        for (auto *x : {&w, &m, &g}) fill(*x, size_t(count));
        if (v.size() != size_t(count)) v.assign(size_t(count), 1e-4f);
        return seconds(threads, [&] {
            const meft_adamw adam = next_step();
            meft_adamw_dense(lane, w.data(), m.data(), v.data(), g.data(), lr.data(), count, &adam);
        });
    }

    double adamw_touched(int64_t hidden, int64_t total, int64_t percent) {
        const std::string key = std::to_string(hidden) + "x" + std::to_string(total);
        if (planes_for != key) {
            planes.reset();
            planes = std::make_unique<bench::Planes>(lane, Shape{hidden, total, 1, 1, 1, 1}, 1);
            planes_for = key;
        }
        fill(g, size_t(total * hidden));
        std::vector<int32_t> rows;
        uint32_t random = 12345;
        for (int64_t row = 0; row < total; ++row) {
            random = random * 1664525u + 1013904223u;
            if ((random >> 8) % 100 < uint32_t(percent)) rows.push_back(int32_t(row));
        }
        // Every row is made current first, so that no missed step is replayed.
        return seconds(threads, [&] {
                   const meft_adamw adam = next_step();
                   for (int32_t &last : planes->last_step) last = int32_t(adam.step - 1);
                   meft_adamw_rows(lane, planes->hi.data(), planes->lo.data(), planes->m.data(), planes->v.data(),
                                   planes->last_step.data(), g.data(), rows.data(), lr.data(), int64_t(rows.size()),
                                   total, hidden, &adam);
               }) /
               double(rows.size() * size_t(hidden));
    }
};

// Seven f32 streams: w, m and v read and written, g read.
double update_seconds(std::vector<float> &streams, int threads) {
    const size_t count = streams.size() / 4;
    float *w = streams.data(), *m = w + count, *v = m + count, *g = v + count;
    return yardstick::together(threads, [&](int thread) {
               const size_t begin = count * size_t(thread) / size_t(threads);
               const size_t end = count * size_t(thread + 1) / size_t(threads);
               for (size_t i = begin; i < end; ++i) {
                   m[i] += g[i];
                   v[i] -= g[i];
                   w[i] += 2 * g[i];
               }
           }) /
           double(count);
}

}  // namespace

int main(int argc, char **argv) {
    const int threads = argc > 1 ? std::atoi(argv[1]) : 2, target = argc > 2 ? std::atoi(argv[2]) : MEFT_TARGET_AUTO;
    meft_ctx_params params = {sizeof params, target, MEFT_GEMM_OWN, threads};
    char error[256];
    meft_ctx *lane = meft_ctx_create(&params, error, sizeof error);
    if (lane == nullptr) return std::printf("{\"error\":\"%s\"}\n", error), 1;
    const int32_t compute = meft::target_of(MEFT_TARGET_AUTO)->multiplies_bf16 ? MEFT_BF16 : MEFT_F32;
    Bench all = {lane, threads, parts_of(lane->kernels->target), compute, "", nullptr, nullptr, "", {}, {}, {}, {}};
    std::vector<uint64_t> array(size_t(1) << 25, 1);
    std::vector<float> streams(size_t(1) << 26, 1);
    char name[32], sizes[96];
    while (std::scanf("%31s %95s", name, sizes) == 2) {
        const double seconds = all.run(name, sizes);
        const Step *step = all.prepared ? &all.prepared->step : nullptr;
        std::printf("{\"seconds\":%.9g,\"pairs\":%lld,\"touched\":%lld,\"f32Gflops\":%.1f,\"bf16Gflops\":%.1f,"
                    "\"readGigabytes\":%.2f,\"updateSeconds\":%.9g}\n",
                    seconds, step ? static_cast<long long>(step->pairs) : 0LL,
                    step ? static_cast<long long>(step->touched) : 0LL,
                    yardstick::peak_gflops(yardstick::Kind::f32, threads),
                    yardstick::peak_gflops(yardstick::Kind::bf16, threads), yardstick::read_gigabytes(array, threads),
                    update_seconds(streams, threads));
        std::fflush(stdout);
    }
    meft_ctx_destroy(lane);
}
