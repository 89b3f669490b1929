// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most, again for every line on standard input, as one JSON line each: the yardsticks that
// `deno task bench kernels` takes in turn with the kernels, because a shared machine's limits change by the minute.
//
//   ninja -C build/cpu bench_limits && yes | head -3 | build/cpu/bench_limits [threads]
#include <cstdio>
#include <cstdlib>

#include "bench/yardstick.h"

namespace {

// The streams of a row update: two 16-bit planes of the weights and two moments read and written, a gradient read.
struct Streams {
    std::vector<uint16_t> hi;
    std::vector<int16_t> lo;
    std::vector<float> m, v, g;
    explicit Streams(size_t count) : hi(count), lo(count), m(count), v(count), g(count) {}

    // Trivial arithmetic in place of AdamW's, block by block so that all streams move together.
    void pass(size_t begin, size_t end) {
        const size_t kBlock = 2048;
        for (size_t from = begin; from < end; from += kBlock) {
            const size_t to = std::min(end, from + kBlock);
            for (size_t i = from; i < to; ++i) hi[i] = uint16_t(hi[i] + 1);
            for (size_t i = from; i < to; ++i) lo[i] = int16_t(lo[i] ^ 1);
            for (size_t i = from; i < to; ++i) m[i] += g[i];
            for (size_t i = from; i < to; ++i) v[i] -= g[i];
        }
    }
    double gigabytes(int threads) {
        const size_t count = hi.size();
        const double seconds = yardstick::together(threads, [&](int thread) {
            pass(count * size_t(thread) / size_t(threads), count * size_t(thread + 1) / size_t(threads));
        });
        return 1e-9 * 28 * double(count) / seconds;
    }
};

}  // namespace

int main(int argc, char **argv) {
    const int threads = argc > 1 ? std::atoi(argv[1]) : int(std::max(1u, std::thread::hardware_concurrency()));
    std::vector<uint64_t> array(size_t(1) << 25, 1);
    Streams streams(size_t(1) << 24);
    for (int c; (c = std::getchar()) != EOF;) {
        if (c != '\n') continue;
        std::printf("{\"f32Gflops\":%.1f,\"bf16Gflops\":%.1f,\"readGigabytes\":%.2f,\"updateGigabytes\":%.2f}\n",
                    yardstick::peak_gflops(yardstick::Kind::f32, threads),
                    yardstick::peak_gflops(yardstick::Kind::bf16, threads), yardstick::read_gigabytes(array, threads),
                    streams.gigabytes(threads));
        std::fflush(stdout);
    }
}
