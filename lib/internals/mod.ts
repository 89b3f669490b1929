// SPDX-License-Identifier: Apache-2.0
/**
 * The layers below `meft`: kernels, op pairs, the engine, and every type that they speak of. For those who study the method or
 * write a part of their own; what stands here may change with any version.
 *
 * @example The same product on two backends
 * ```ts
 * import { nativeKernels, ops, referenceKernels } from "meft/internals";
 *
 * console.log(Object.keys(ops).length > 0, referenceKernels().compute);
 * using k = nativeKernels({ compute: "f32", threads: 1 });
 * console.log(k.compute);
 * ```
 *
 * @module
 */

// Kernels and op pairs.
export { nativeKernels } from "../ops/native/native_kernels.ts";
export { referenceKernels } from "../ops/reference/reference.ts";
export { inspect } from "../ops/sparse.ts";
export * as ops from "../ops/pairs.ts";

// The engine.
export { openCheckpoint } from "../models/load.ts";
export { evaluateLoss, forwardLogits, lossAndGradients } from "../models/engine/pass.ts";
export { decodeStep } from "../models/engine/decode.ts";
export { encodeSource } from "../models/engine/encode_source.ts";
export { createKvCache } from "../models/engine/kv_cache.ts";
export { attachAdapter } from "../adapters/attach.ts";

// Parts of training, scoring and answering.
export { trainingSteps } from "../data/batches.ts";
export { measureRates } from "../predict/machine/measure.ts";
export { predictSteps } from "../predict/cost_model.ts";
export { plannedBatches } from "../predict/batch_sizes.ts";
export { processPeakBytes } from "../predict/memory.ts";
export { generateTokens } from "../evaluate/generate_tokens.ts";
export { loadQuestions } from "../evaluate/questions.ts";
export { normalizeAnswer } from "../evaluate/metrics.ts";
export { spokenText } from "../evaluate/thoughts.ts";

// Every type that the above, and the records of runs, speak of.
export type * from "../activations/registry.ts";
export type * from "../adapters/adapter.ts";
export type * from "../adapters/attach.ts";
export type * from "../adapters/files/adapter_files.ts";
export type * from "../adapters/files/base_model.ts";
export type * from "../adapters/files/file_format.ts";
export type * from "../adapters/lora/options.ts";
export type * from "../adapters/option_source.ts";
export type * from "../adapters/parallel.ts";
export type * from "../adapters/registry.ts";
export type * from "../adapters/sparse/config.ts";
export type * from "../ops/row_cache.ts";
export type * from "../adapters/sparse/row_slots.ts";
export type * from "../core/dtype.ts";
export type * from "../core/errors.ts";
export type * from "../core/job_queue.ts";
export type * from "../core/json.ts";
export type * from "../core/rng.ts";
export type * from "../data/batch.ts";
export type * from "../data/batches.ts";
export type * from "../data/chat_message.ts";
export type * from "../data/chat_template.ts";
export type * from "../data/dataset.ts";
export type * from "../data/examples.ts";
export type * from "../data/format_options.ts";
export type * from "../data/bad_rows.ts";
export type * from "../data/load_data.ts";
export type * from "../data/map_rows.ts";
export type * from "../data/preview.ts";
export type * from "../data/row_error.ts";
export type * from "../data/languages.ts";
export type * from "../data/prompt_reader.ts";
export type * from "../data/row_shapes.ts";
export type * from "../data/row_warnings.ts";
export type * from "../data/rows.ts";
export type * from "../data/tokenizer.ts";
export type { TokenizerFiles } from "../data/tokenizer_files.ts";
export type { Encoding } from "../data/tokenizer_library.ts";
export type * from "../evaluate/activity.ts";
export type * from "../evaluate/answer_options.ts";
export type * from "../evaluate/beams.ts";
export type * from "../evaluate/decoder_session.ts";
export type * from "../evaluate/generate.ts";
export type * from "../evaluate/generate_tokens.ts";
export type * from "../evaluate/gsm8k.ts";
export type * from "../evaluate/loss.ts";
export type * from "../evaluate/metrics.ts";
export type * from "../evaluate/questions.ts";
export type * from "../evaluate/sampling.ts";
export type * from "../evaluate/score.ts";
export type * from "../evaluate/token_rules.ts";
export type * from "../merge/merge.ts";
export type * from "../merge/merge_check.ts";
export type * from "../merge/merged_checkpoint.ts";
export type * from "../methods/methods.ts";
export type * from "../models/engine/decode.ts";
export type * from "../models/engine/pass.ts";
export type * from "../models/engine/stacks.ts";
export type * from "../models/hooks.ts";
export type * from "../models/load.ts";
export type * from "../models/model.ts";
export type * from "../models/parts.ts";
export type * from "../models/rope.ts";
export type { KeyValues } from "../models/sublayers/context.ts";
export type * from "../native/arena.ts";
export type { ArenaMark } from "../native/arena_layout.ts";
export type * from "../native/context.ts";
export type * from "../native/ledger.ts";
export type * from "../ops/host_link.ts";
export type * from "../ops/host_times.ts";
export type * from "../ops/kernels/device.ts";
export type * from "../ops/kernels/kernels.ts";
export type * from "../ops/kernels/model.ts";
export type * from "../ops/kernels/place.ts";
export type * from "../ops/kernels/rows.ts";
export type * from "../ops/native/native_kernels.ts";
export type * from "../ops/reference/reference.ts";
export type * from "../ops/rotary.ts";
export type * from "../ops/sparse.ts";
export type * from "../ops/sparse_again.ts";
export type * from "../ops/sparse_pairs.ts";
export type * from "../optim/adamw.ts";
export type * from "../optim/clip.ts";
export type * from "../optim/optimizer.ts";
export type * from "../optim/parameters.ts";
export type * from "../optim/registry.ts";
export type * from "../optim/schedule.ts";
export type * from "../study/ablate.ts";
export type * from "../study/grid.ts";
export type * from "../study/prepare.ts";
export type * from "../study/results.ts";
export type * from "../study/scoring.ts";
export type * from "../study/summary.ts";
export type * from "../tensor/checkpoint_index.ts";
export type * from "../tensor/safetensors.ts";
export type * from "../tensor/tensor.ts";
export type * from "../train/adapters.ts";
export type * from "../train/batches.ts";
export type * from "../predict/batch_sizes.ts";
export type * from "../predict/cost_model.ts";
export type * from "../predict/device_memory.ts";
export type * from "../predict/dry_run.ts";
export type * from "../predict/fit.ts";
export type * from "../predict/machine/rates.ts";
export type * from "../predict/time.ts";
export type * from "../train/lane_account.ts";
export type * from "../train/lanes.ts";
export type * from "../train/layer_updates.ts";
export type * from "../train/loop.ts";
export type * from "../predict/memory.ts";
export type * from "../predict/placement.ts";
export type * from "../train/open_model.ts";
export type * from "../train/placement.ts";
export type * from "../train/plan.ts";
export type * from "../train/settings.ts";
export type * from "../train/state.ts";
export type * from "../train/step.ts";
export type * from "../predict/work.ts";
