// SPDX-License-Identifier: Apache-2.0
// Speed of the sparse adapter: milliseconds of each call of a step, its work in GFLOP/s (bytes in GB/s for AdamW), and
// how that compares with what the machine can do. The fastest round of each; with one thread, time on the processor.
//
//   ninja -C build/cpu bench_sparse && build/cpu/bench_sparse [threads] [rounds] [f32|bf16] [DxMxNxrxKxT ...]
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/sparse_step.h"
#include "bench/yardstick.h"

namespace {

using bench::Shape;
using bench::Step;

const Shape kShapes[] = {
    {1024, 16384, 64, 4, 64, 2048}, {4096, 16384, 64, 4, 64, 1024}, {1024, 4096, 256, 8, 64, 1024}};

void measure(meft_ctx *lane, const Shape &s, int32_t compute, int threads, int rounds) {
    const char *names[] = {"route", "forward", "touch", "backward", "AdamW of touched rows", "catching up one step"};
    Step step(lane, s, compute);
    std::vector<double> seconds[6];
    for (int round = 0; round <= rounds; ++round) {
        for (int part = 0; part < 6; ++part) {
            const double start = yardstick::now(threads);
            step.run(lane, part);
            if (round > 0) seconds[part].push_back(yardstick::now(threads) - start);
        }
    }
    const double score = 2. * double(s.T * s.r * (s.M / s.N) * s.D), pair = 2. * double(step.pairs * s.D);
    const double work[] = {2. * double(s.T * s.N * s.D), score + pair, 0, 4 * pair, 0, 0};
    std::printf("D=%ld M=%ld N=%ld r=%ld K=%ld T=%ld %s: %ld pairs, %ld rows touched\n", long(s.D), long(s.M),
                long(s.N), long(s.r), long(s.K), long(s.T), compute == MEFT_BF16 ? "bf16" : "f32", long(step.pairs),
                long(step.touched));
    double total = 0;
    for (int part = 0; part < 6; ++part) {
        const double best = yardstick::least(seconds[part]);
        total += best;
        std::printf("  %-22s %8.2f ms", names[part], 1e3 * best);
        if (work[part] > 0) std::printf("  %7.1f GFLOP/s", 1e-9 * work[part] / best);
        // Per element of keys and values: planes, m and v read and written, the gradient read.
        if (part == 4) std::printf("  %7.1f GB/s", 1e-9 * 2 * 28 * double(step.touched * s.D) / best);
        std::printf("\n");
    }
    std::printf("  %-22s %8.2f ms\n", "whole step", 1e3 * total);
}

}  // namespace

int main(int argc, char **argv) {
    const int threads = argc > 1 ? std::atoi(argv[1]) : 2, rounds = argc > 2 ? std::atoi(argv[2]) : 5;
    const int32_t compute = argc > 3 && std::strcmp(argv[3], "f32") == 0 ? MEFT_F32 : MEFT_BF16;
    meft_ctx_params params = {sizeof params, MEFT_TARGET_AUTO, MEFT_GEMM_OWN, threads};
    char error[256];
    meft_ctx *lane = meft_ctx_create(&params, error, sizeof error);
    if (lane == nullptr) return std::printf("%s\n", error), 1;
    std::printf("%d threads; peak %.0f GFLOP/s f32, %.0f bf16\n", threads,
                yardstick::peak_gflops(yardstick::Kind::f32, threads),
                yardstick::peak_gflops(yardstick::Kind::bf16, threads));
    if (argc < 5) {
        for (const Shape &shape : kShapes) measure(lane, shape, compute, threads, rounds);
    }
    for (int i = 4; i < argc; ++i) {
        long d[6];
        if (std::sscanf(argv[i], "%ldx%ldx%ldx%ldx%ldx%ld", d, d + 1, d + 2, d + 3, d + 4, d + 5) != 6) {
            return std::printf("%s is not DxMxNxrxKxT\n", argv[i]), 1;
        }
        measure(lane, {d[0], d[1], d[2], d[3], d[4], d[5]}, compute, threads, rounds);
    }
    meft_ctx_destroy(lane);
    return 0;
}
