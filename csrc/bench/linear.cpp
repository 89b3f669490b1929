// SPDX-License-Identifier: Apache-2.0
// Speed of linear layers: GFLOP/s, share of what the machine can multiply and add, and the same by oneDNN where it is
// installed. All in one process, in turn, the fastest round of each (others may use the machine); few-token rows also
// give the weights' GB/s.
//
//   ninja -C build/cpu bench_linear && build/cpu/bench_linear [threads] [rounds] [TOKENSxROWSxCOLS ...]
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "bench/yardstick.h"
#include "meft.h"

namespace {

using yardstick::Kind;

// Idle workers of a thread runtime spin on for some milliseconds (libgomp's for up to 10) on a core the next one needs.
constexpr std::chrono::milliseconds kSettle(20);

struct Shape {
    int64_t tokens, rows, cols;
};

// The performance bar's shapes, then the demo's, then one token.
const Shape kShapes[] = {{512, 4096, 4096}, {1024, 1024, 256}, {128, 4096, 4096}, {32, 4096, 4096},
                         {512, 128, 128},   {256, 256, 256},   {512, 2048, 256},  {512, 512, 256},
                         {16, 1024, 1024},  {8, 4096, 4096},   {1, 4096, 4096},   {1, 2048, 256}};

meft_ctx *open_lane(int threads, int gemm) {
    meft_ctx_params params = {};
    params.struct_size = sizeof params;
    params.gemm = gemm;
    params.threads = threads;
    char error[256];
    meft_ctx *lane = meft_ctx_create(&params, error, sizeof error);
    if (lane == nullptr) std::printf("# %s\n", error);
    return lane;
}

struct Case {
    Shape shape;
    int32_t dtype, compute;
    std::vector<float> x, dy, y, dx, dw;
    std::vector<char> w;
    meft_weight descriptor = {};

    Case(Shape s, int32_t stored, int32_t computed) : shape(s), dtype(stored), compute(computed) {
        const auto fill = [](std::vector<float> &v, int64_t count) {
            v.resize(size_t(count));
            for (size_t i = 0; i < v.size(); ++i) v[i] = std::sin(float(i % 10007));
        };
        fill(x, s.tokens * s.cols);
        fill(dy, s.tokens * s.rows);
        fill(y, s.tokens * s.rows);
        fill(dx, s.tokens * s.cols);
        fill(dw, s.rows * s.cols);
        w.resize(size_t(s.rows * s.cols) * (dtype == MEFT_F32 ? 4 : 2));
        for (int64_t i = 0; i < s.rows * s.cols; ++i) {
            // The upper half of a float is a bf16; as an f16 it is some finite number too.
            const char *bytes = reinterpret_cast<const char *>(&dw[size_t(i)]);
            if (dtype == MEFT_F32)
                std::memcpy(&w[size_t(i) * 4], bytes, 4);
            else
                std::memcpy(&w[size_t(i) * 2], bytes + 2, 2);
        }
        descriptor.struct_size = sizeof descriptor;
        descriptor.dtype = dtype;
        descriptor.rows = s.rows;
        descriptor.cols = descriptor.row_stride = s.cols;
    }

    meft_status run(meft_ctx *lane, int direction) {
        if (direction == 0) {
            return meft_linear_forward(lane, y.data(), x.data(), w.data(), &descriptor, nullptr, nullptr, shape.tokens,
                                       MEFT_F32, MEFT_F32, compute, 0);
        }
        if (direction == 1) {
            return meft_linear_backward_data(lane, dx.data(), dy.data(), w.data(), &descriptor, shape.tokens, MEFT_F32,
                                             MEFT_F32, compute, 0);
        }
        return meft_linear_backward_weight(lane, dw.data(), nullptr, dy.data(), x.data(), shape.tokens, shape.rows,
                                           shape.cols, MEFT_F32, MEFT_F32, compute);
    }
};

void measure(Shape shape, int32_t dtype, int32_t compute, int rounds, int threads, meft_ctx *own, meft_ctx *onednn) {
    Case one(shape, dtype, compute);
    const double gflop = 2e-9 * double(shape.tokens) * double(shape.rows) * double(shape.cols);
    // Small products are repeated within a round, so that the clock's own cost does not show.
    const int repeats = int(std::max(1., std::min(200., 0.02 / gflop)));
    const char *const names[] = {"forward", "backward data", "backward weight"};
    for (int direction = 0; direction < 3; ++direction) {
        std::vector<double> peak, times[2];
        for (int round = 0; round <= rounds; ++round) {
            if (round > 0) {
                std::this_thread::sleep_for(kSettle);
                peak.push_back(yardstick::peak_gflops(compute == MEFT_BF16 ? Kind::bf16 : Kind::f32, threads));
            }
            for (int provider = 0; provider < 2; ++provider) {
                meft_ctx *lane = provider == 0 ? own : onednn;
                if (lane == nullptr) continue;
                if (provider > 0 || round == 0) std::this_thread::sleep_for(kSettle);
                one.run(lane, direction);
                const double start = yardstick::now(threads);
                for (int i = 0; i < repeats; ++i) {
                    if (one.run(lane, direction) == MEFT_OK) continue;
                    char error[256];
                    meft_error_text(lane, error, sizeof error);
                    std::printf("%s\n", error);
                    std::exit(1);
                }
                if (round > 0) times[provider].push_back((yardstick::now(threads) - start) / repeats);
            }
        }
        const double seconds = yardstick::least(times[0]), rate = gflop / seconds;
        std::printf("%5lld x %4lld x %4lld  %-4s w, %-4s  %-15s %9.3f ms %7.0f GFLOP/s %3.0f%% of peak",
                    static_cast<long long>(shape.tokens), static_cast<long long>(shape.rows),
                    static_cast<long long>(shape.cols),
                    dtype == MEFT_F32    ? "f32"
                    : dtype == MEFT_BF16 ? "bf16"
                                         : "f16",
                    compute == MEFT_F32 ? "f32" : "bf16", names[direction], 1e3 * seconds, rate,
                    100 * rate / yardstick::most(peak));
        if (shape.tokens <= 32 && direction == 0) std::printf(" %6.1f GB/s", 1e-9 * double(one.w.size()) / seconds);
        if (!times[1].empty()) {
            const double theirs = yardstick::least(times[1]);
            std::printf("  oneDNN %7.0f GFLOP/s, own/oneDNN %.2f", gflop / theirs, theirs / seconds);
        }
        std::printf("\n");
        std::fflush(stdout);
    }
}

}  // namespace

int main(int argc, char **argv) {
    const auto argument = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
    const int threads = argument(1, int(std::max(1u, std::thread::hardware_concurrency())));
    const int rounds = std::max(1, argument(2, 7));
    std::vector<Shape> shapes;
    for (int i = 3; i < argc; ++i) {
        long long tokens, rows, cols;
        if (std::sscanf(argv[i], "%lldx%lldx%lld", &tokens, &rows, &cols) == 3) shapes.push_back({tokens, rows, cols});
    }
    if (shapes.empty()) shapes.assign(std::begin(kShapes), std::end(kShapes));
    meft_ctx *own = open_lane(threads, MEFT_GEMM_OWN), *onednn = open_lane(threads, MEFT_GEMM_ONEDNN);
    if (own == nullptr) return 1;
    {
        std::vector<uint64_t> array(size_t(1) << 26, 1);
        std::vector<double> reads;
        for (int i = 0; i < 5; ++i) reads.push_back(yardstick::read_gigabytes(array, threads));
        std::printf("%d threads: f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s, memory read %.1f GB/s\n", threads,
                    yardstick::peak_gflops(Kind::f32, threads), yardstick::peak_gflops(Kind::bf16, threads),
                    yardstick::most(reads));
    }
    for (const Shape &shape : shapes) {
        measure(shape, MEFT_F32, MEFT_F32, rounds, threads, own, onednn);
        measure(shape, MEFT_BF16, MEFT_BF16, rounds, threads, own, onednn);
        measure(shape, MEFT_F32, MEFT_BF16, rounds, threads, own, onednn);
    }
    meft_ctx_destroy(onednn);
    meft_ctx_destroy(own);
}
