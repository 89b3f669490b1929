/* SPDX-License-Identifier: Apache-2.0
 *
 * meft.h: the whole C ABI of libmeft.
 * // size: one header is what other languages' bindings and scripts/gen_symbols.ts read
 *
 * libmeft, libmeft_cuda and libmeft_cuda_emulated all export it. A context of a CUDA library is one stream of a device; its
 * calls return when their work is issued, unless an argument is an array of the host, and work in the order of calls.
 *
 * Rules, for every function:
 *  - Arguments come in the order context, outputs, inputs, sizes, scalars, params struct.
 *  - A fallible call returns meft_status; its text is on the context until the context's next call
 *    (meft_error_text). Invalid arguments are found before any output is written.
 *  - Counts are int64 elements; byte counts end in _bytes. A pointer may be null only when its
 *    count is 0 or its comment says "or null". No pointer needs alignment beyond its element's.
 *  - Matrices are row-major. A frozen or trained weight is a pair of arguments (data, const meft_weight *): data is null
 *    when the descriptor names a mapped file.
 *  - Activations are f32, or bf16 where a call takes them as void * with their dtype (MEFT_F32 or MEFT_BF16): bf16 is
 *    read exactly, computed with in f32, and rounded once, to nearest even, as it is written.
 *  - Outputs never alias inputs unless the comment says "in place" or "accumulated".
 *  - Results do not depend on the number of threads.
 *  - A kernel that the context's backend lacks (meft_build_info names them) returns MEFT_UNSUPPORTED.
 *  - Functions marked @nonblocking may also be called from another thread than the one that made the
 *    context; a context has at most one call in flight, a second returns MEFT_BUSY.
 *
 * Names: T tokens (all rows of a micro-batch), D hidden, V vocabulary, H heads, Hkv kv heads, Dh head size,
 * F feed-forward, R neurons of a sparse adapter, N experts, P (token, neuron) pairs.
 */
#ifndef MEFT_H
#define MEFT_H

#include <stdint.h>

#include "meft_targets.h"

#if defined(__GNUC__)
#define MEFT_API __attribute__((visibility("default")))
#else
#define MEFT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define MEFT_ABI_MAJOR 5
#define MEFT_ABI_MINOR 0

typedef int32_t meft_status;
#define MEFT_OK 0
#define MEFT_INVALID 1
#define MEFT_OUT_OF_MEMORY 2
#define MEFT_UNSUPPORTED 3
#define MEFT_IO 4
#define MEFT_DEVICE 5
#define MEFT_BUSY 6
#define MEFT_INTERNAL 99

/* Element types of stored weights, of activations (not f16) and of matrix products (not f16). */
#define MEFT_F32 0
#define MEFT_BF16 1
#define MEFT_F16 2

/* Instruction sets are those of meft_targets.h; 0 is the best that the machine has. */
#define MEFT_TARGET_AUTO 0
/* A CUDA device, and the same kernels run by the CPU: the only targets of the CUDA libraries. */
#define MEFT_TARGET_CUDA 5
#define MEFT_TARGET_CUDA_EMULATED 6

/* What the stream of a device's context is for: the model's work, or copies, which go before it where both could run. */
#define MEFT_STREAM_WORK 0
#define MEFT_STREAM_COPIES 1

/* Providers of matrix products. */
#define MEFT_GEMM_OWN 0
#define MEFT_GEMM_ONEDNN 1

/* Kinds of norms and of activations: meft_norm_forward, meft_activation_forward. */
#define MEFT_NORM_RMS 0
#define MEFT_NORM_LAYER 1

#define MEFT_ACTIVATION_IDENTITY 0
#define MEFT_ACTIVATION_RELU 1
#define MEFT_ACTIVATION_SILU 2
#define MEFT_ACTIVATION_GELU 3
#define MEFT_ACTIVATION_GELU_TANH 4
#define MEFT_ACTIVATION_QUICK_GELU 5
#define MEFT_ACTIVATION_TANH 6
#define MEFT_ACTIVATION_SIGMOID 7

#define MEFT_GATE_RAW 0
#define MEFT_GATE_SOFTMAX 1
#define MEFT_GATE_SIGMOID 2
#define MEFT_GATE_NONE 3

#define MEFT_SCOPE_TOKEN 0
#define MEFT_SCOPE_UNION 1

#define MEFT_ADAM_DENSE 0
#define MEFT_ADAM_LAZY_EXACT 1
#define MEFT_ADAM_LAZY 2

typedef struct meft_ctx meft_ctx;

/* ---- library and contexts ------------------------------------------------------------------- */

/* What a new context should be. Zero means "choose": target AUTO, all cores the process may use, a stream for work. */
typedef struct meft_ctx_params {
    uint32_t struct_size;
    int32_t target;  /* MEFT_TARGET_* */
    int32_t gemm;    /* MEFT_GEMM_* */
    int32_t threads; /* of the one pool of this process, which grows to the most that a context asks for */
    int32_t stream;  /* MEFT_STREAM_*, of a device's context */
    int32_t reserved;
} meft_ctx_params;

/* major << 16 | minor. A caller requires the same major and at least its own minor. */
MEFT_API uint32_t meft_abi_version(void);

/* Writes one JSON object (compiler, compiled targets, targets this machine runs, gemm providers, kernels that the backend
 * lacks, revision), NUL-terminated and cut at out_bytes. Returns the bytes the whole text needs, the NUL included. */
MEFT_API int64_t meft_build_info(char *out, int64_t out_bytes);

/* A new lane, or null with a sentence in error (NUL-terminated, cut at error_bytes). */
MEFT_API meft_ctx *meft_ctx_create(const meft_ctx_params *params, char *error, int64_t error_bytes);

/* Frees the context and its workspace, after a call in flight; the last one joins the thread pool. Null is allowed. */
MEFT_API void meft_ctx_destroy(meft_ctx *ctx);

/* Copies the text of the last failure into out, like meft_build_info. */
MEFT_API int64_t meft_error_text(meft_ctx *ctx, char *out, int64_t out_bytes);

/* info[0] target, info[1] gemm provider, info[2] threads, info[3] workspace bytes held,
 * info[4] target that the last kernel call really ran, info[5] bytes of files mapped by this process, info[6] to [12]
 * nanoseconds since the context was made in the sparse adapter's scores with top-K, values, gradients of scores, of
 * inputs, of the router, of rows, and row steps in the backward pass; info[13] which limit on the memory of this process is
 * the tighter one (0 none, 1 on private memory, ulimit -d, 2 on addresses, ulimit -v), info[14] the bytes that it leaves,
 * info[15] the bytes that were resident at most since the process began (0 where the system does not tell). */
MEFT_API meft_status meft_ctx_info(meft_ctx *ctx, int64_t *info, int64_t info_count);

/* Maps a whole file read-only. handle_and_bytes[0] is a handle (never 0), [1] the file's size in bytes.
 * path: NUL-terminated UTF-8. Handles belong to the process, are checked on use, and never reused.
 *
 * A file that is cut, written to, or can no longer be read while it is mapped makes the call that reads it fail with
 * MEFT_IO, whatever it has written to its outputs, and every later one; a path that names another file by now does not
 * matter. A page that is gone is a signal, SIGBUS: the first file that is mapped installs a handler for the process, which
 * stays. It answers only faults at an address of a mapped file, by zeros in the place of the file's pages, and leaves
 * every other one to the action it found, as if it were not there. */
MEFT_API meft_status meft_map_open(meft_ctx *ctx, int64_t *handle_and_bytes, const uint8_t *path);
/* Waits for calls in flight on other contexts, which may be reading the file. */
MEFT_API meft_status meft_map_close(meft_ctx *ctx, int64_t handle);
/* Copies count_bytes from a mapped file. */
MEFT_API meft_status meft_map_read(meft_ctx *ctx, uint8_t *out, int64_t handle, int64_t offset_bytes,
                                   int64_t count_bytes);

/* ---- memory of a device --------------------------------------------------------------------- */

/* Where a library has no device, memory is the host's: reserving is MEFT_UNSUPPORTED, copies are plain copies, and
 * waiting returns at once. */

/* Writes one JSON object, like meft_build_info: the backend; of a device its name, architecture, memory and free bytes,
 * driver and runtime, libraries found; the bytes held and their peaks by class; the last request that was refused. */
MEFT_API int64_t meft_device_facts(meft_ctx *ctx, char *out, int64_t out_bytes);
/* The peaks become what is held now. */
MEFT_API meft_status meft_device_reset_peaks(meft_ctx *ctx);

/* address[0]: an address range of `bytes` bytes that stands for memory of the device, uninitialised, 256-byte aligned
 * there. Arrays within it may be passed wherever a function takes an array, but for those whose elements the function
 * checks (ids, positions, spans, targets); the host must not touch them: that ends the process with a sentence.
 * class_name: NUL-terminated, under which the bytes are booked. MEFT_OUT_OF_MEMORY says who asked and who holds what. */
MEFT_API meft_status meft_device_reserve(meft_ctx *ctx, int64_t *address, int64_t bytes, const uint8_t *class_name);
/* Waits for the context's work first. */
MEFT_API meft_status meft_device_release(meft_ctx *ctx, int64_t address);

/* address[0]: host memory that copies reach beside other work. */
MEFT_API meft_status meft_pinned_reserve(meft_ctx *ctx, int64_t *address, int64_t bytes);
MEFT_API meft_status meft_pinned_release(meft_ctx *ctx, int64_t address);

/* Each side is an array of the host or of the device. On return it is issued; it is done when one side is memory of the
 * host that is not pinned. @nonblocking */
MEFT_API meft_status meft_copy(meft_ctx *ctx, void *to, const void *from, int64_t bytes);
MEFT_API meft_status meft_zero(meft_ctx *ctx, void *to, int64_t bytes);

/* Returns when all work that the context was given is done. @nonblocking */
MEFT_API meft_status meft_synchronize(meft_ctx *ctx);

/* Events let lanes and the host wait for each other's work without waiting for all of it. event[0] is never 0 and
 * belongs to the process; timed != 0: it takes the time too, for meft_event_elapsed. record marks the work that ctx was
 * given so far; recording again moves the mark. */
MEFT_API meft_status meft_event_create(meft_ctx *ctx, int64_t *event, int32_t timed);
MEFT_API meft_status meft_event_destroy(meft_ctx *ctx, int64_t event);
MEFT_API meft_status meft_event_record(meft_ctx *ctx, int64_t event);
/* Work given to ctx from now on waits for the mark; the call itself does not. */
MEFT_API meft_status meft_event_lane_waits(meft_ctx *ctx, int64_t event);
/* Returns when the marked work is done. The context only carries the call: another than the one that works.
 * @nonblocking */
MEFT_API meft_status meft_event_host_waits(meft_ctx *ctx, int64_t event);
/* done[0]: 1 when the marked work is done, or nothing was marked yet; else 0. Never waits. */
MEFT_API meft_status meft_event_query(meft_ctx *ctx, int32_t *done, int64_t event);
/* ms[0]: milliseconds from when the work marked by one timed event was done to when that of another was. Both are done. */
MEFT_API meft_status meft_event_elapsed(meft_ctx *ctx, double *ms, int64_t begin, int64_t end);

/* ---- weights -------------------------------------------------------------------------------- */

/* Describes a weight as stored: rows x cols of dtype, rows row_stride elements apart. A vector is 1 x cols. */
typedef struct meft_weight {
    uint32_t struct_size;
    int32_t dtype;        /* MEFT_F32, MEFT_BF16 or MEFT_F16 */
    int64_t rows;
    int64_t cols;
    int64_t row_stride;   /* elements, >= cols */
    int64_t handle;       /* mapped file, or 0 when the data argument holds the weight */
    int64_t offset_bytes; /* of the first element: in the file, or in data */
} meft_weight;

/* y (T,rows), written or accumulated: y (+)= x w^T + bias.  x (T,cols).
 * compute: MEFT_F32, or MEFT_BF16 (x and w rounded to bf16, products summed in f32), which bf16 activations ask for.
 * bias: 1 x rows, or both null. */
MEFT_API meft_status meft_linear_forward(meft_ctx *ctx, void *y, const void *x, const void *w,
                                         const meft_weight *w_desc, const void *bias,
                                         const meft_weight *bias_desc, int64_t tokens, int32_t y_dtype,
                                         int32_t x_dtype, int32_t compute, int32_t accumulate);

/* dx (T,cols), written or accumulated: dx (+)= dy w.  dy (T,rows). */
MEFT_API meft_status meft_linear_backward_data(meft_ctx *ctx, void *dx, const void *dy, const void *w,
                                               const meft_weight *w_desc, int64_t tokens, int32_t dx_dtype,
                                               int32_t dy_dtype, int32_t compute, int32_t accumulate);

/* dweight (rows,cols) f32, accumulated: dweight += dy^T x;  dbias (rows) f32, accumulated, or null. */
MEFT_API meft_status meft_linear_backward_weight(meft_ctx *ctx, float *dweight, float *dbias, const void *dy,
                                                 const void *x, int64_t tokens, int64_t rows, int64_t cols,
                                                 int32_t dy_dtype, int32_t x_dtype, int32_t compute);

/* y (T,D) f32, written or accumulated: row ids[t] of w (V,D). An id outside [0,V) is MEFT_INVALID. */
MEFT_API meft_status meft_embedding_forward(meft_ctx *ctx, float *y, const int32_t *ids, const void *w,
                                            const meft_weight *w_desc, int64_t tokens, int32_t accumulate);
/* dweight (V,D) f32, accumulated: row ids[t] += dy[t], in increasing t. */
MEFT_API meft_status meft_embedding_backward(meft_ctx *ctx, float *dweight, const int32_t *ids, const float *dy,
                                             int64_t tokens, int64_t vocabulary, int64_t hidden);

/* ---- norms, rotary, activations ------------------------------------------------------------- */

/* One norm over rows of D elements. */
typedef struct meft_norm {
    uint32_t struct_size;
    int32_t kind; /* MEFT_NORM_* */
    int64_t rows;
    float eps; /* at least 0 */
    int32_t unit_offset; /* not 0: w below is 1 more than stored */
    int32_t y_dtype; /* forward only */
    int32_t x_dtype;
    int32_t accumulate; /* backward only */
    int32_t reserved;
} meft_norm;

/* y (rows,D) written: n * w + bias. w and bias 1 x D; no bias: both null.
 * RMS: n = x * rstd, rstd = 1/sqrt(mean(x^2) + eps); stats (rows) f32 written: rstd.
 * LAYER: n = (x - mean) * rstd, rstd = 1/sqrt(mean((x - mean)^2) + eps); stats (2,rows) f32 written: means, rstd. */
MEFT_API meft_status meft_norm_forward(meft_ctx *ctx, void *y, float *stats, const void *x, const void *w,
                                       const meft_weight *w_desc, const void *bias, const meft_weight *bias_desc,
                                       const meft_norm *params);
/* With g = w*dy: dx = rstd * (g - n * mean(g*n)), for LAYER rstd * (g - mean(g) - n * mean(g*n)), written or accumulated;
 * dx, dy and x are of x_dtype; dweight (D) f32 += sum over rows of dy*n, dbias (D) f32 += sum over rows of dy, each null
 * where it is frozen or not there. */
MEFT_API meft_status meft_norm_backward(meft_ctx *ctx, void *dx, float *dweight, float *dbias, const void *dy,
                                        const void *x, const float *stats, const void *w, const meft_weight *w_desc,
                                        const meft_norm *params);

/* Rotates x (T,heads,head_dim) of dtype in place, halves convention: of the first rotary_dim elements of a head, which
 * is even, pairs (i, i + rotary_dim/2) by the angle whose cos and sin stand in row positions[t] of the tables
 * (table_rows, rotary_dim/2); the others stay. inverse != 0 rotates back (the backward pass: the transposed rotation;
 * the tables' scale is applied in both directions). */
MEFT_API meft_status meft_rope_apply(meft_ctx *ctx, void *x, const float *cos, const float *sin,
                                     const int32_t *positions, int64_t tokens, int64_t heads, int64_t head_dim,
                                     int64_t rotary_dim, int64_t table_rows, int32_t dtype, int32_t inverse);

/* y = f(x), or f(x) * up where up is not null, elementwise, all of dtype; y may be x or up. With s(x) = 1/(1 + e^-x) and
 * P(x) = (1 + erf(x/sqrt(2)))/2, the cumulative normal distribution, f(x) by kind (MEFT_ACTIVATION_*):
 *   IDENTITY x        RELU max(x, 0)        SILU x s(x)        QUICK_GELU x s(1.702 x)        GELU x P(x)
 *   GELU_TANH x/2 (1 + tanh u) = x s(2u), u = sqrt(2/pi) (x + 0.044715 x^3)        TANH tanh x        SIGMOID s(x)
 * In f32 each is within 8 units in the last place of the exact f of x, at any x that does not underflow; GELU_TANH and
 * QUICK_GELU, whose s is taken at a rounded argument a, within 8 + 2|a|. */
MEFT_API meft_status meft_activation_forward(meft_ctx *ctx, void *y, const void *x, const void *up, int64_t count,
                                             int32_t kind, int32_t dtype);
/* dx = dy * f'(x) written, and with up dx = dy * up * f'(x), dup = dy * f(x); dup and up are both null or neither. dx may
 * be x or dy, and dup may be up (in place). RELU: f'(0) = 0, and x may be its y, of the same sign. */
MEFT_API meft_status meft_activation_backward(meft_ctx *ctx, void *dx, void *dup, const void *dy, const void *x,
                                              const void *up, int64_t count, int32_t kind, int32_t dtype);

/* y += x, both of dtype. */
MEFT_API meft_status meft_add(meft_ctx *ctx, void *y, const void *x, int64_t count, int32_t dtype);
/* y = factor * y + x. */
MEFT_API meft_status meft_scaled_add(meft_ctx *ctx, float *y, const float *x, int64_t count, float factor);
/* x *= factor. */
MEFT_API meft_status meft_scale(meft_ctx *ctx, float *x, int64_t count, float factor);
/* x = cap * tanh(x / cap), cap more than 0. */
MEFT_API meft_status meft_softcap(meft_ctx *ctx, float *x, int64_t count, float cap);
/* out[0] = sum of squares in f64, fixed chunks summed in index order; NaN or infinity when x holds one. */
MEFT_API meft_status meft_sum_squares(meft_ctx *ctx, double *out, const float *x, int64_t count);

/* out[i] ~ N(0, std^2), a pure function of (seed, stream, i), the same as randomNormal of lib/core/rng.ts:
 * words x0..x3 = Philox4x32-10 of counter (i/4 low, i/4 high, 0, 0) and key (seed, stream); u = (x + 0.5) * 2^-32;
 * from (u0, u1), then (u2, u3): r = std * sqrt(-2 ln u_a), outputs r cos(2 pi u_b), r sin(2 pi u_b).
 * In f64, rounded to f32 at the end. std is finite and not negative. */
MEFT_API meft_status meft_random_normal(meft_ctx *ctx, float *out, int64_t count, uint32_t seed,
                                        uint32_t stream, float std);

/* Inverted dropout: y = x / (1 - p) where an element stays, else 0; or that added to y. Element i stays when word
 * (first + i) mod 4 of Philox4x32-10 is not below round(p * 2^32), at most 2^32 - 1; its counter is
 * ((first + i) / 4 low, high, part, 4), its key (seed, stream). The same as dropout of lib/core/rng.ts.
 * In place allowed. */
typedef struct meft_dropout {
    uint32_t struct_size;
    uint32_t seed;
    uint32_t stream;
    uint32_t part;
    int64_t first;      /* at least 0 */
    double probability; /* p, from 0 to below 1 */
    int32_t accumulate;
    int32_t y_dtype;
    int32_t x_dtype;
    int32_t reserved;
} meft_dropout;

MEFT_API meft_status meft_dropout_apply(meft_ctx *ctx, void *y, const void *x, int64_t count,
                                        const meft_dropout *params);

/* ---- couplings in fixed point --------------------------------------------------------------- */

/* Residual streams of a coupling that its backward pass undoes, bit for bit: int32, of which s stands for s * 2^-fraction,
 * fraction 0 to 30. fixed(v) is v * 2^fraction to the nearest whole number, ties to even, or 0 where that is not below 2^31
 * in magnitude; sums of streams wrap around. So an inverse is exact whatever is in an array, and all bits are the same on
 * every target. Whether values fit is said by account (2) f32, which only grows: [0] += elements whose magnitude is not
 * below (2^31 - 2^10) * 2^-fraction, up to 2^24; [1] = the larger of it and of all magnitudes; NaN from the first one on. */

/* s (count) written: fixed(x). Magnitudes: |x|. */
MEFT_API meft_status meft_coupling_to_fixed(meft_ctx *ctx, int32_t *s, float *account, const float *x, int64_t count,
                                            int32_t fraction);
/* x (count) written: s * 2^-fraction, rounded once. */
MEFT_API meft_status meft_coupling_from_fixed(meft_ctx *ctx, float *x, const int32_t *s, int64_t count,
                                              int32_t fraction);
/* y (count) written: (x >> shift) + fixed(f), the coefficient of x being 2^-shift, shift 0 to 15. Magnitudes: the larger of
 * |f| and |(x >> shift) * 2^-fraction + f|. view (count) written, or null: y * 2^-fraction.
 * dropped, written, null when shift is 0: the lowest `shift` bits of each x, 16 * shift words of 32 bits for every 512
 * elements, the last ones made full with zeros. Of 512, element 16 r + l has bits r * shift and following of lane l, whose
 * bit b is bit b % 32 of word 16 * (b / 32) + l. y may be x and view may be f (in place). */
MEFT_API meft_status meft_coupling_forward(meft_ctx *ctx, int32_t *y, int32_t *dropped, float *view, float *account,
                                           const int32_t *x, const float *f, int64_t count, int32_t fraction,
                                           int32_t shift);
/* x (count) written: ((y - fixed(f)) << shift) | dropped, the x of meft_coupling_forward. x may be y (in place). */
MEFT_API meft_status meft_coupling_inverse(meft_ctx *ctx, int32_t *x, const int32_t *y, const int32_t *dropped,
                                           const float *f, int64_t count, int32_t fraction, int32_t shift);

/* ---- attention ------------------------------------------------------------------------------ */

/* Which keys of its span a query sees. PAST: those up to its own place, with a window only the last `window` of them.
 * ALL: all, with a window only those no more than floor(window / 2) from its place, on both sides. */
#define MEFT_SEES_PAST 0
#define MEFT_SEES_ALL 1

/* Grouped-query attention over spans; nothing crosses a span: o = softmax(s) v with s = scale * q.k, or with softcap > 0
 * s = softcap * tanh(scale * q.k / softcap). Row s of spans (span_count,4) int32 is {q_begin, q_end, k_begin, k_end}. The
 * last query of a span sits at its last key: the place of query i is key i + (key count - query count).
 * Query rows in no span, or in one without keys, get zeros (o and lse). Where the past is seen, or a window, a span has no
 * more queries than keys. Spans share no query row, and for the backward pass no key row. Memory is linear in the sequence
 * length. A NaN may reach any row of its span, but no other span. */
typedef struct meft_attention {
    uint32_t struct_size;
    int32_t compute; /* MEFT_F32, or MEFT_BF16: q, k, v, o and gradients are bf16 arrays, probabilities and their gradients
                        are rounded to it too. Softmax, lse and sums are f32. */
    int64_t q_rows;
    int64_t k_rows;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t window; /* 0: no window */
    int64_t span_count;
    float scale;   /* of q.k, more than 0, usually 1/sqrt(head_dim) */
    float softcap; /* 0: scores are not capped */
    int32_t sees;  /* MEFT_SEES_* */
    int32_t reserved2;
} meft_attention;

/* o (q_rows,H,Dh), lse (q_rows,H): log of the sum of exp(s). q (q_rows,H,Dh), k and v (k_rows,Hkv,Dh). */
MEFT_API meft_status meft_attention_forward(meft_ctx *ctx, void *o, float *lse, const void *q, const void *k,
                                            const void *v, const int32_t *spans, const meft_attention *params);
/* dq, dk, dv written (zeros where no span reaches). With p = exp(s - lse) and d = do.o: dv = p^T do,
 * ds = scale * p * (do.v - d), capped times 1 - (s / softcap)^2, dq = ds k, dk = ds^T q. */
MEFT_API meft_status meft_attention_backward(meft_ctx *ctx, void *dq, void *dk, void *dv, const void *d_o,
                                             const void *q, const void *k, const void *v, const void *o,
                                             const float *lse, const int32_t *spans,
                                             const meft_attention *params);

/* ---- loss ----------------------------------------------------------------------------------- */

/* loss (T) f32 written: -log softmax(z[t])[targets[t]], 0 where targets[t] < 0. z is logits, or with softcap > 0
 * softcap * tanh(logits / softcap). With scale != 0 logits (T,V) becomes scale * dloss/dlogits in place (zeros where targets[t] < 0);
 * with scale == 0 logits is left as it is. A target >= V is MEFT_INVALID. */
MEFT_API meft_status meft_cross_entropy(meft_ctx *ctx, float *loss, float *logits, const int32_t *targets,
                                        int64_t tokens, int64_t vocabulary, float scale, float softcap);

/* ---- mixture-of-experts --------------------------------------------------------------------- */

/* T tokens choose `active` (K) of N experts each. A choice is a slot, t*K + k; products of an expert take its tokens as rows
 * that lie together, one for each of the T*K slots. */

/* logits (T,N). With p = softmax(logits[t]): chosen (T,K) int32 written, the experts of the largest logits, ties to the lower
 * number, by increasing number; weights (T,K) written: p of them, divided by their sum when normalised is not 0. A row with
 * a NaN gets NaN for its weights. */
MEFT_API meft_status meft_experts_choose(meft_ctx *ctx, float *weights, int32_t *chosen, const float *logits,
                                         int64_t tokens, int64_t experts, int64_t active, int32_t normalised);
/* The weights alone, of a choice that was made before: an earlier meft_experts_choose, of logits that may have been others. */
MEFT_API meft_status meft_experts_weights(meft_ctx *ctx, float *weights, const int32_t *chosen, const float *logits,
                                          int64_t tokens, int64_t experts, int64_t active, int32_t normalised);
/* dlogits (T,N) written: the gradient through the weights. With m = sum over k of weights*dweights, of a chosen expert
 * weights*(dweights - m), of another 0 when normalised is not 0, else -p*m. */
MEFT_API meft_status meft_experts_choose_backward(meft_ctx *ctx, float *dlogits, const float *dweights,
                                                  const float *logits, const int32_t *chosen, int64_t tokens,
                                                  int64_t experts, int64_t active, int32_t normalised);
/* y (count,width) written: row i is row rows[i] of x (x_rows,width). */
MEFT_API meft_status meft_experts_gather(meft_ctx *ctx, void *y, const void *x, const int32_t *rows, int64_t count,
                                         int64_t x_rows, int64_t width, int32_t y_dtype, int32_t x_dtype);
/* y (T,width) f32, written or accumulated: row t is the sum over k, in order, of weights[t,k] * x[places[t,k]], of x
 * (T*K,width); places (T,K) int32 are numbers of rows, weights (T,K) f32, or null for 1. The gradient of a gather too. */
MEFT_API meft_status meft_experts_combine(meft_ctx *ctx, float *y, const void *x, const int32_t *places,
                                          const float *weights, int64_t tokens, int64_t active, int64_t width,
                                          int32_t x_dtype, int32_t accumulate);
/* Backward of rows times weights, y[i] = weights[slots[i]] * x[i]: dx (count,width) written, weights[slots[i]] * dy[i], in
 * place of dy or apart; dweights (count) f32 written: of slot slots[i] the product dy[i].x[i]. slots are distinct. */
MEFT_API meft_status meft_experts_weigh_backward(meft_ctx *ctx, void *dx, float *dweights, const void *dy,
                                                 const void *x, const int32_t *slots, const float *weights,
                                                 int64_t count, int64_t width, int32_t dtype);

/* ---- the sparse adapter --------------------------------------------------------------------- */

/* Sizes and modes of one call. neurons % experts == 0; an expert's neurons are contiguous. */
typedef struct meft_sparse {
    uint32_t struct_size;
    int32_t gate;    /* MEFT_GATE_* */
    int32_t scope;   /* MEFT_SCOPE_* */
    int32_t compute; /* MEFT_F32 (hi and lo planes) or MEFT_BF16 (hi planes only, h rounded for the scores) */
    int64_t tokens;
    int64_t hidden;
    int64_t neurons;
    int64_t experts;
    int64_t active_experts;
    int64_t top_k;
    int64_t pair_capacity;
} meft_sparse;

/* Keys and values are (R,D) as two planes: f32 bits = (hi << 16) + lo, hi uint16 (rounded bf16), lo int16.
 * Every value is kept bit for bit, but for NaN, which becomes 0x7fc00000. */
MEFT_API meft_status meft_planes_split(meft_ctx *ctx, uint16_t *hi, int16_t *lo, const float *x, int64_t count);
MEFT_API meft_status meft_planes_join(meft_ctx *ctx, float *x, const uint16_t *hi, const int16_t *lo,
                                      int64_t count);

/* Rows on their way to memory where products read them, and their gradients on the way back. rows and places lie in the
 * host's memory, their elements are in range, and places are distinct.
 * gather: row i of out (row_count,D) of `dtype` is row rows[i] of the planes (total_rows,D): joined to MEFT_F32, or for
 * MEFT_BF16 the hi plane. add: row places[i] of to (total_rows,D) += row i of from (row_count,D), or is written where
 * places[i] >= first_new. @nonblocking */
MEFT_API meft_status meft_rows_gather(meft_ctx *ctx, void *out, const uint16_t *hi, const int16_t *lo,
                                      const int32_t *rows, int64_t row_count, int64_t total_rows, int64_t hidden,
                                      int32_t dtype);
/* See meft_rows_gather. @nonblocking */
MEFT_API meft_status meft_rows_add(meft_ctx *ctx, float *to, const float *from, const int32_t *places,
                                   int64_t row_count, int64_t total_rows, int64_t hidden, int64_t first_new);

/* logits (T,N) f32 written: h gate_weight^T, in f32; experts (T,active_experts) int32 written: the largest logits,
 * ties to the lowest index, in increasing expert order. expert_tokens (N) int32 written: tokens per expert.
 * @nonblocking */
MEFT_API meft_status meft_sparse_route(meft_ctx *ctx, float *logits, int32_t *experts, int32_t *expert_tokens,
                                       const float *h, const float *gate_weight, const meft_sparse *params);

/* y (T,D) written: sum over the token's pairs of score * value row; or null when only the pairs are wanted. Pairs in token order, neurons increasing:
 * offsets (T+1), neurons (P), dots (P) = h.key, scores (P) = gate * dot > 0. needed_pairs[0] = pairs there are;
 * when that exceeds pair_capacity (scope union only, token scope needs at most T*top_k) nothing else is
 * valid and the caller calls again with room. A token with a logit, or a score among those compared for it, that is NaN
 * or infinite gets NaN for its whole row of y (without y, for its scores): comparisons would lose it. @nonblocking */
MEFT_API meft_status meft_sparse_forward(meft_ctx *ctx, float *y, int32_t *offsets, int32_t *neurons, float *dots,
                                         float *scores, int64_t *needed_pairs, const float *h,
                                         const float *logits, const int32_t *experts, const uint16_t *keys_hi,
                                         const int16_t *keys_lo, const uint16_t *values_hi,
                                         const int16_t *values_lo, const meft_sparse *params);

/* The y of a meft_sparse_forward whose pairs were kept: nothing is routed, scored or chosen. @nonblocking */
MEFT_API meft_status meft_sparse_values(meft_ctx *ctx, float *y, const int32_t *offsets, const int32_t *neurons,
                                        const float *scores, const uint16_t *values_hi, const int16_t *values_lo,
                                        const meft_sparse *params);

/* Scope union, without a choice: meft_sparse_forward where the union is united (U) int32, increasing, which an earlier call
 * chose of an h that may have been another. logits (T,N) written, as meft_sparse_route does; experts are not chosen. Else
 * as there. @nonblocking */
MEFT_API meft_status meft_sparse_forward_among(meft_ctx *ctx, float *y, float *logits, int32_t *offsets, int32_t *neurons,
                                               float *dots, float *scores, int64_t *needed_pairs, const float *h,
                                               const float *gate_weight, const int32_t *united, int64_t united_count,
                                               const uint16_t *keys_hi, const int16_t *keys_lo,
                                               const uint16_t *values_hi, const int16_t *values_lo,
                                               const meft_sparse *params);

/* Gives every neuron of the pairs a slot: slots (R) int32, -1 where none yet. rows (R): the neuron of each slot.
 * row_count[0]: slots in use, read and advanced. New neurons take slots in increasing neuron order. */
MEFT_API meft_status meft_sparse_touch(meft_ctx *ctx, int32_t *slots, int32_t *rows, int64_t *row_count,
                                       const int32_t *neurons, int64_t pairs, int64_t neuron_count);

/* Backward of route and forward together.
 * dh (T,D) accumulated. dgate_weight (N,D) accumulated, or null (gate none, or a frozen router).
 * dkeys, dvalues (slots in use, D): the row gradients; a slot >= first_new_slot is written, a lower one
 * accumulated; dkeys or null when keys are frozen. Sums run over tokens in increasing order. @nonblocking */
MEFT_API meft_status meft_sparse_backward(meft_ctx *ctx, float *dh, float *dgate_weight, float *dkeys,
                                          float *dvalues, const float *dy, const float *h, const float *logits,
                                          const int32_t *experts, const int32_t *offsets, const int32_t *neurons,
                                          const float *dots, const float *scores, const int32_t *slots,
                                          int64_t first_new_slot, const float *gate_weight,
                                          const uint16_t *keys_hi, const int16_t *keys_lo,
                                          const uint16_t *values_hi, const int16_t *values_lo,
                                          const meft_sparse *params);

/* Numbers of pairs as a dense matrix and back: pairs of token t are [offsets[t], offsets[t+1]), columns (P) int32 the
 * column of each; negative: none. scatter: out (T,width) written, values[p] in place and 0 elsewhere. gather: out (P), of each pair
 * with a column, what stands there in dense (T,width); others stay. */
MEFT_API meft_status meft_pairs_scatter(meft_ctx *ctx, float *out, const float *values, const int32_t *offsets,
                                        const int32_t *columns, int64_t tokens, int64_t width);
MEFT_API meft_status meft_pairs_gather(meft_ctx *ctx, float *out, const float *dense, const int32_t *offsets,
                                       const int32_t *columns, int64_t tokens, int64_t width);

/* ---- optimizers ----------------------------------------------------------------------------- */

/* AdamW. With g = grad_scale * gradient, at step t (from 1):
 *   m = beta1*m + (1-beta1)*g;  v = beta2*v + (1-beta2)*g*g
 *   w = w*(1 - lr*weight_decay) - lr/(1-beta1^t) * m / (sqrt(v)/sqrt(1-beta2^t) + eps)
 * Moments below the smallest normal f32 become 0. lr_history[i] is the learning rate of step i+1, finite and not
 * negative; it has at least `step` entries. */
typedef struct meft_adamw {
    uint32_t struct_size;
    int32_t mode; /* MEFT_ADAM_*; rows only */
    int64_t step;
    double beta1; /* f64, so that 1 - beta2 keeps its digits: 1 - 0.999f is off by 1e-5 of itself */
    double beta2;
    double eps;
    double weight_decay;
    float grad_scale;
    int32_t reserved;
} meft_adamw;

MEFT_API meft_status meft_adamw_dense(meft_ctx *ctx, float *w, float *m, float *v, const float *grad,
                                      const float *lr_history, int64_t count, const meft_adamw *params);

/* Updates rows of a split-plane matrix (row_count_total, D). rows (row_count) are distinct; gradient row i belongs to
 * rows[i] (any order). last_step (row_count_total) int32: the step each row is current to; 0: never touched;
 * negative: weights are final up to now, moments current to -last_step.
 * DENSE: every row of the matrix takes the step, those not in rows with g = 0. LAZY_EXACT: rows in rows first replay
 * the steps they missed, then take this one. LAZY: moments decay by beta^missed in closed form, no drift.
 * @nonblocking */
MEFT_API meft_status meft_adamw_rows(meft_ctx *ctx, uint16_t *hi, int16_t *lo, float *m, float *v,
                                     int32_t *last_step, const float *grad, const int32_t *rows,
                                     const float *lr_history, int64_t row_count, int64_t total_rows,
                                     int64_t hidden, const meft_adamw *params);

/* LAZY_EXACT: replays the missed steps up to params->step of every row of the blocks named: block b is rows
 * [b*block_rows, (b+1)*block_rows), blocks increasing. all_moments 0: rows whose weights are final may keep their
 * moments for later; 1: moments too become current (a flush). Afterwards bits equal DENSE's. @nonblocking */
MEFT_API meft_status meft_adamw_rows_catch_up(meft_ctx *ctx, uint16_t *hi, int16_t *lo, float *m, float *v,
                                              int32_t *last_step, const int32_t *blocks, const float *lr_history,
                                              int64_t block_count, int64_t block_rows, int64_t hidden,
                                              int32_t all_moments, const meft_adamw *params);

/* ---- the sparse adapter as one call of a lane --------------------------------------------------- */

/* Route, bring rows up to date, score and sum in one call: what a lane beside the model's is handed for a layer.
 * meft_sparse_route; then, unless adam is null, meft_adamw_rows_catch_up (all_moments 0) of the rows of every expert that
 * has tokens, of keys and of values, each unless its last_step is null; then meft_sparse_forward.
 * routed (N) int32 is scratch. times_ns (4) written: nanoseconds of routing, bringing up to date, scoring and
 * choosing, and value sums. @nonblocking */
MEFT_API meft_status meft_sparse_branch_forward(
    meft_ctx *ctx, float *y, float *logits, int32_t *experts, int32_t *expert_tokens, int32_t *routed,
    int32_t *offsets, int32_t *neurons, float *dots, float *scores, int64_t *needed_pairs, int64_t *times_ns,
    const float *h, const float *gate_weight, uint16_t *keys_hi, int16_t *keys_lo, float *keys_m, float *keys_v,
    int32_t *keys_last_step, uint16_t *values_hi, int16_t *values_lo, float *values_m, float *values_v,
    int32_t *values_last_step, const float *lr_history, const meft_sparse *params, const meft_adamw *adam);

/* meft_sparse_touch and meft_sparse_backward in one call, but for dh (T,D), which is written. dkeys and dvalues have room
 * for slot_capacity rows; more touched rows than that are MEFT_INVALID, with slots taken. @nonblocking */
MEFT_API meft_status meft_sparse_branch_backward(
    meft_ctx *ctx, float *dh, float *dgate_weight, float *dkeys, float *dvalues, int32_t *slots, int32_t *rows,
    int64_t *row_count, const float *dy, const float *h, const float *logits, const int32_t *experts,
    const int32_t *offsets, const int32_t *neurons, const float *dots, const float *scores, int64_t slot_capacity,
    const float *gate_weight, const uint16_t *keys_hi, const int16_t *keys_lo, const uint16_t *values_hi,
    const int16_t *values_lo, const meft_sparse *params);

/* meft_sparse_backward and meft_adamw_rows in one, for gradients that nothing needs afterwards: a row's gradient is used
 * while it is in cache and never written. The weights, m, v and last_step of keys and values get the bits that the
 * two calls would give them, clipped by this layer's norm; dh and dgate_weight are as in meft_sparse_backward.
 * keys_m, keys_v and keys_last_step null: frozen keys. squares (3) f64 written: sums of squares of the gradients of
 * router (0 without dgate_weight), keys and values. clip: limit of their norm together, 0 for none; it multiplies
 * grad_scale of keys and values by min(1, clip / (norm + 1e-6)), the router is the caller's. When the norm is not
 * finite nothing moves. @nonblocking */
MEFT_API meft_status meft_sparse_backward_step(
    meft_ctx *ctx, float *dh, float *dgate_weight, double *squares, uint16_t *keys_hi, int16_t *keys_lo,
    float *keys_m, float *keys_v, int32_t *keys_last_step, uint16_t *values_hi, int16_t *values_lo, float *values_m,
    float *values_v, int32_t *values_last_step, const float *dy, const float *h, const float *logits,
    const int32_t *experts, const int32_t *offsets, const int32_t *neurons, const float *dots, const float *scores,
    const float *gate_weight, const float *lr_history, double clip, const meft_sparse *params,
    const meft_adamw *adam);

#ifdef __cplusplus
}
#endif
#endif /* MEFT_H */
