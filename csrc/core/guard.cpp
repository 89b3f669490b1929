// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"

#include <algorithm>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

namespace meft {

void fail(meft_status status, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    std::string text(size_t(std::max(0, std::vsnprintf(nullptr, 0, format, arguments))), '\0');
    va_end(arguments);
    std::vsnprintf(&text[0], text.size() + 1, format, again);
    va_end(again);
    throw Failure{status, std::move(text)};
}

namespace {

meft_status describe(meft_ctx *ctx, const char *op) {
    try {
        throw;
    } catch (const Failure &failure) {
        ctx->error.assign(op).append(": ").append(failure.text);
        return failure.status;
    } catch (const std::bad_alloc &) {
        ctx->error.assign(op).append(": not enough memory");
        return MEFT_OUT_OF_MEMORY;
    } catch (const std::exception &error) {
        ctx->error.assign(op).append(": ").append(error.what());
        return MEFT_INTERNAL;
    } catch (...) {
        ctx->error.assign(op).append(": unknown failure");
        return MEFT_INTERNAL;
    }
}

}  // namespace

meft_status record_failure(meft_ctx *ctx, const char *op) noexcept {
    try {
        return describe(ctx, op);
    } catch (...) {
        ctx->error.clear();  // no memory even for the text
        return MEFT_OUT_OF_MEMORY;
    }
}

meft_status record_call_failure(meft_ctx *ctx, const char *op) noexcept {
    const meft_status status = record_failure(ctx, op);
    try {
        files_unchanged();
        return status;
    } catch (...) {
        return record_failure(ctx, op);
    }
}

int64_t copy_text(std::string_view text, char *out, int64_t out_bytes) {
    if (out != nullptr && out_bytes > 0) {
        const size_t count = std::min(text.size(), static_cast<size_t>(out_bytes - 1));
        std::memcpy(out, text.data(), count);
        out[count] = '\0';
    }
    return static_cast<int64_t>(text.size()) + 1;
}

void check_count(const char *name, int64_t count) {
    if (count < 0) fail(MEFT_INVALID, "%s is %" PRId64 ", expected 0 or more", name, count);
}

void check_array(const char *name, const void *data, int64_t count) {
    if (data == nullptr && count > 0) {
        fail(MEFT_INVALID, "%s is null, expected %" PRId64 " elements", name, count);
    }
}

void check_matrix(const char *name, const void *data, int64_t rows, int64_t cols) {
    check_tensor(name, data, {rows, cols});
}

void check_tensor(const char *name, const void *data, std::initializer_list<int64_t> shape) {
    int64_t count = std::find(shape.begin(), shape.end(), 0) == shape.end();
    for (const int64_t extent : shape) {
        if (!__builtin_mul_overflow(count, extent, &count)) continue;
        std::string text;
        for (const int64_t each : shape) text += (text.empty() ? "" : " x ") + std::to_string(each);
        fail(MEFT_INVALID, "%s is %s, more than memory can hold", name, text.c_str());
    }
    check_array(name, data, count);
}

void check_struct(const char *name, const void *params, uint32_t wanted) {
    if (params == nullptr) fail(MEFT_INVALID, "%s is null", name);
    uint32_t size;
    std::memcpy(&size, params, sizeof size);
    if (size != wanted) fail(MEFT_INVALID, "%s has struct_size %u, expected %u", name, size, wanted);
}

void check_compute(int32_t compute) {
    if (compute != MEFT_F32 && compute != MEFT_BF16) {
        fail(MEFT_INVALID, "compute is %d, expected MEFT_F32 or MEFT_BF16", compute);
    }
}

void check_dtype(const char *name, int32_t dtype) {
    if (dtype != MEFT_F32 && dtype != MEFT_BF16) {
        fail(MEFT_INVALID, "%s has dtype %d, expected MEFT_F32 or MEFT_BF16", name, dtype);
    }
}

void check_product_dtype(const char *name, int32_t dtype, int32_t compute) {
    check_dtype(name, dtype);
    if (dtype == MEFT_BF16 && compute != MEFT_BF16) {
        fail(MEFT_INVALID, "%s is bf16 and the product f32, expected compute MEFT_BF16", name);
    }
}

}  // namespace meft
