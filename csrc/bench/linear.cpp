// SPDX-License-Identifier: Apache-2.0
// Speed of linear layers, activations in the type that is multiplied: GFLOP/s, share of what the machine can multiply
// and add, and the same by oneDNN where it is installed. All in one process, in turn; times are medians, and so are
// ratios of a round to the limit measured beside it, since a shared machine's limits change by the second. Few-token
// rows also give the weights' GB/s.
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
    std::vector<char> x, dy, y, dx, w;
    std::vector<float> dw;
    meft_weight descriptor = {};

    Case(Shape s, int32_t stored, int32_t computed) : shape(s), dtype(stored), compute(computed) {
        // The upper half of a float is a bf16; as an f16 it is some finite number too.
        const auto fill = [](std::vector<char> &v, int64_t count, int32_t type) {
            const size_t bytes = type == MEFT_F32 ? 4 : 2;
            v.resize(size_t(count) * bytes);
            for (size_t i = 0; i < size_t(count); ++i) {
                const float value = std::sin(float(i % 10007));
                std::memcpy(&v[i * bytes], reinterpret_cast<const char *>(&value) + 4 - bytes, bytes);
            }
        };
        fill(x, s.tokens * s.cols, compute);
        fill(dy, s.tokens * s.rows, compute);
        fill(y, s.tokens * s.rows, compute);
        fill(dx, s.tokens * s.cols, compute);
        fill(w, s.rows * s.cols, dtype);
        dw.resize(size_t(s.rows * s.cols));
        descriptor.struct_size = sizeof descriptor;
        descriptor.dtype = dtype;
        descriptor.rows = s.rows;
        descriptor.cols = descriptor.row_stride = s.cols;
    }

    meft_status run(meft_ctx *lane, int direction) {
        if (direction == 0) {
            return meft_linear_forward(lane, y.data(), x.data(), w.data(), &descriptor, nullptr, nullptr, shape.tokens,
                                       compute, compute, compute, 0);
        }
        if (direction == 1) {
            return meft_linear_backward_data(lane, dx.data(), dy.data(), w.data(), &descriptor, shape.tokens, compute,
                                             compute, compute, 0);
        }
        return meft_linear_backward_weight(lane, dw.data(), nullptr, dy.data(), x.data(), shape.tokens, shape.rows,
                                           shape.cols, compute, compute, compute);
    }
};

void measure(Shape shape, int32_t dtype, int32_t compute, int rounds, int threads, meft_ctx *own, meft_ctx *onednn) {
    Case one(shape, dtype, compute);
    const double gflop = 2e-9 * double(shape.tokens) * double(shape.rows) * double(shape.cols);
    // Small products are repeated within a round, so that the clock's own cost does not show.
    const int repeats = int(std::max(1., std::min(200., 0.02 / gflop)));
    const char *const names[] = {"forward", "backward data", "backward weight"};
    for (int direction = 0; direction < 3; ++direction) {
        std::vector<double> shares, times[2];
        for (int round = 0; round <= rounds; ++round) {
            for (int provider = 0; provider < 2; ++provider) {
                meft_ctx *lane = provider == 0 ? own : onednn;
                if (lane == nullptr) continue;
                std::this_thread::sleep_for(kSettle);
                one.run(lane, direction);
                const double start = yardstick::now(threads);
                for (int i = 0; i < repeats; ++i) {
                    if (one.run(lane, direction) == MEFT_OK) continue;
                    char error[256];
                    meft_error_text(lane, error, sizeof error);
                    std::printf("%s\n", error);
                    std::exit(1);
                }
                const double seconds = (yardstick::now(threads) - start) / repeats;
                if (round == 0) continue;
                times[provider].push_back(seconds);
                if (provider > 0) continue;
                shares.push_back(gflop / seconds /
                                 yardstick::peak_gflops(compute == MEFT_BF16 ? Kind::bf16 : Kind::f32, threads));
            }
        }
        const double seconds = yardstick::median(times[0]), rate = gflop / seconds;
        std::printf("%5lld x %4lld x %4lld  %-4s w, %-4s  %-15s %9.3f ms %7.0f GFLOP/s %3.0f%% of peak",
                    static_cast<long long>(shape.tokens), static_cast<long long>(shape.rows),
                    static_cast<long long>(shape.cols),
                    dtype == MEFT_F32    ? "f32"
                    : dtype == MEFT_BF16 ? "bf16"
                                         : "f16",
                    compute == MEFT_F32 ? "f32" : "bf16", names[direction], 1e3 * seconds, rate,
                    100 * yardstick::median(shares));
        if (shape.tokens <= 32 && direction == 0) std::printf(" %6.1f GB/s", 1e-9 * double(one.w.size()) / seconds);
        if (!times[1].empty()) {
            const double theirs = yardstick::median(times[1]);
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
