// SPDX-License-Identifier: Apache-2.0
// The boundary: nothing thrown inside crosses the C ABI, every failure becomes a status and a sentence.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "core/context.h"
#include "core/mapping.h"
#include "meft.h"

namespace meft {

// A failure with its status. The text is a sentence with values and without the operation's name.
struct Failure {
    meft_status status;
    std::string text;
};

// Throws Failure, formatted like printf.
[[noreturn]] void fail(meft_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The call in flight on a context, for as long as this lives. Mapped files stay mapped meanwhile.
class Call {
public:
    explicit Call(meft_ctx *ctx) : ctx_(ctx) { files_hold(); }
    ~Call() {
        files_release();
        ctx_->busy.store(false, std::memory_order_release);
    }
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;

private:
    meft_ctx *ctx_;
};

// Called inside a catch block: the status of what was thrown, its text on the context. Never throws.
meft_status record_failure(meft_ctx *ctx, const char *op) noexcept;
// The same at the end of a call: a file that it read and that has changed is the cause of whatever else went wrong.
meft_status record_call_failure(meft_ctx *ctx, const char *op) noexcept;

// Takes the context; false when another call has it.
inline bool enter(meft_ctx *ctx) { return !ctx->busy.exchange(true, std::memory_order_acquire); }

// Runs body() as the one call in flight on ctx; op is the name without the meft_ prefix.
template <class Body>
meft_status guarded(meft_ctx *ctx, const char *op, Body &&body) {
    if (ctx == nullptr) return MEFT_INVALID;
    if (!enter(ctx)) return MEFT_BUSY;
    Call call(ctx);
    try {
        ctx->error.clear();
        ctx->workspace.reset();
        body();
        ctx->workspace.check_overrun();
        files_unchanged();
        return MEFT_OK;
    } catch (...) {
        return record_call_failure(ctx, op);
    }
}

// Writes a text NUL-terminated and cut at out_bytes. Returns the bytes the whole text needs, the NUL included.
int64_t copy_text(std::string_view text, char *out, int64_t out_bytes);

// Argument checks shared by the functions of csrc/api.
void check_count(const char *name, int64_t count);                                  // >= 0
void check_array(const char *name, const void *data, int64_t count);                // not null unless count is 0
void check_matrix(const char *name, const void *data, int64_t rows, int64_t cols);  // the same for rows x cols
// The same for an array of these extents, none negative.
void check_tensor(const char *name, const void *data, std::initializer_list<int64_t> shape);
void check_struct(const char *name, const void *params, uint32_t wanted);           // not null, struct_size == wanted
void check_compute(int32_t compute);                                                // MEFT_F32 or MEFT_BF16
void check_dtype(const char *name, int32_t dtype);                                  // of activations: the same two
// The same, of an activation named `name` in a product: bf16 only where products are.
void check_product_dtype(const char *name, int32_t dtype, int32_t compute);

}  // namespace meft
