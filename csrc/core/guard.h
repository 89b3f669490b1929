// SPDX-License-Identifier: Apache-2.0
// The boundary: nothing thrown inside crosses the C ABI, every failure becomes a status and a sentence.
#pragma once

#include <cstdarg>
#include <exception>
#include <new>
#include <string>

#include "core/context.h"
#include "meft.h"

namespace meft {

// A failure with its status. The text is a sentence with values and without the operation's name.
struct Failure {
    meft_status status;
    std::string text;
};

// Throws Failure, formatted like printf.
[[noreturn]] void fail(meft_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

std::string format_text(const char *format, va_list arguments);

// Releases the context's busy flag when the call ends, however it ends.
struct BusyFlag {
    meft_ctx *ctx;
    ~BusyFlag() { ctx->busy.store(false, std::memory_order_release); }
};

// Runs body() as the one call in flight on ctx; op is the name without the meft_ prefix.
template <class Body> meft_status guarded(meft_ctx *ctx, const char *op, Body &&body) {
    if (ctx == nullptr) return MEFT_INVALID;
    if (ctx->busy.exchange(true, std::memory_order_acquire)) return MEFT_BUSY;
    BusyFlag release{ctx};
    try {
        ctx->error.clear();
        body();
        return MEFT_OK;
    } catch (const Failure &failure) {
        ctx->error = std::string(op) + ": " + failure.text;
        return failure.status;
    } catch (const std::bad_alloc &) {
        ctx->error = std::string(op) + ": out of memory";
        return MEFT_OUT_OF_MEMORY;
    } catch (const std::exception &error) {
        ctx->error = std::string(op) + ": " + error.what();
        return MEFT_INTERNAL;
    } catch (...) {
        ctx->error = std::string(op) + ": unknown failure";
        return MEFT_INTERNAL;
    }
}

// Argument checks shared by the functions of csrc/api.
void check_count(const char *name, int64_t count);                         // >= 0
void check_array(const char *name, const void *data, int64_t count);       // not null unless count is 0
void check_struct(const char *name, const void *params, uint32_t wanted);  // not null, struct_size == wanted

}  // namespace meft
