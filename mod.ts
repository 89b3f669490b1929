// SPDX-License-Identifier: Apache-2.0
/**
 * meft: fine-tunes a frozen language model by training a very large, sparsely activated adapter that lives in host memory
 * (MEFT: Memory-Efficient Fine-Tuning through Sparse Adapter, Hao et al., ACL 2024).
 *
 * @example A run
 * ```ts
 * import * as meft from "meft";
 *
 * using model = await meft.loadModel("notebooks/demo/model"); // any Hugging Face folder
 * const facts = await meft.loadData("notebooks/demo/facts.jsonl", model);
 * const run = meft.plan(model, { method: meft.sparse({ neurons: 256, topK: 32 }), steps: 3 });
 * for await (const { step, loss } of meft.train(run, facts)) console.log(step, loss);
 * console.log(await meft.generate(model, "Question: Who founded Miawick?", { adapter: run.adapter }));
 * ```
 *
 * @example A loop of one's own
 * ```ts
 * import * as meft from "meft";
 *
 * using model = await meft.loadModel("notebooks/demo/model");
 * const facts = await meft.loadData("notebooks/demo/facts.jsonl", model);
 * const run = meft.plan(model, { method: meft.sparse({ neurons: 256, topK: 32 }), batch: { size: 8 }, steps: 3 });
 * let state = meft.init(run);
 * for (const step of meft.batches(run, facts)) {
 *   const [next, metrics] = await meft.trainStep(run, state, step); // the old state is spent
 *   console.log(metrics.loss, metrics.activeNeurons);
 *   state = next;
 * }
 * await meft.flushState(run, state); // rows that wait for their optimizer steps catch up
 * ```
 *
 * @module
 */

// A model and its data.
export {
  loadDataFor as loadData,
  openModel as loadModel,
  previewData as preview,
} from "./lib/train/open_model.ts";
export { loadModel as loadCheckpoint } from "./lib/models/load.ts";
export { trainingSteps } from "./lib/data/batches.ts";
export { loadTokenizer } from "./lib/data/tokenizer.ts";

// What is trained, and how.
export { full, lora, METHOD_NAMES, methodByName, parallel, sparse } from "./lib/methods/methods.ts";
export { adamw } from "./lib/optim/registry.ts";
export { constant, cosine, linear } from "./lib/optim/schedule.ts";

// Training: the loop, and the step for those who write their own.
export { plan } from "./lib/train/plan.ts";
export { measureRates, planMeasured } from "./lib/train/rates.ts";
export { predictSteps } from "./lib/train/cost_model.ts";
export { describeModel } from "./lib/models/described.ts";
export { dryRun } from "./lib/train/dry_run.ts";
export { memoryOnData } from "./lib/train/batch_sizes.ts";
export { processPeakBytes } from "./lib/train/memory.ts";
export { availableHostBytes, peakHostBytes, residentBytes } from "./lib/native/host_memory.ts";
export { batches } from "./lib/train/batches.ts";
export { train } from "./lib/train/loop.ts";
export { accumulate, NonFiniteError, trainStep, update } from "./lib/train/step.ts";
export { flushState, init } from "./lib/train/state.ts";
export { baseOf, loadAdapter, openAdapter, saveAdapter } from "./lib/train/adapters.ts";
export { mergeAdapter } from "./lib/merge/merge.ts";
export { clipFactor, globalNorm } from "./lib/optim/clip.ts";

// Studies: grids of runs.
export { ablate, listCells } from "./lib/study/ablate.ts";
export { readResults } from "./lib/study/results.ts";
export { groupBySeed } from "./lib/study/summary.ts";

// Answers and scores.
export { complete as generate, streamCompletion } from "./lib/evaluate/complete.ts";
export { generate as generateTokens } from "./lib/evaluate/generate.ts";
export { loadQuestions } from "./lib/evaluate/questions.ts";
export { loadPrompts, SCORE_NAMES, scoreRows, summarizeScores } from "./lib/evaluate/score.ts";
export { datasetLoss } from "./lib/evaluate/loss.ts";
export { inspectDataset, inspectExample } from "./lib/evaluate/activity.ts";
export { exactMatch, f1, normalizeAnswer } from "./lib/evaluate/metrics.ts";
export { gsm8kMatch } from "./lib/evaluate/gsm8k.ts";
export { spokenText } from "./lib/evaluate/thoughts.ts";

// The layers below: kernels, op pairs, the engine.
export { nativeKernels as native } from "./lib/ops/native/native_kernels.ts";
export { referenceKernels as reference } from "./lib/ops/reference/reference.ts";
export { inspect } from "./lib/ops/sparse.ts";
export * as ops from "./lib/ops/pairs.ts";
export { evaluateLoss, forwardLogits, lossAndGradients } from "./lib/models/engine/pass.ts";
export { createKvCache, decodeStep } from "./lib/models/engine/decode.ts";

// Errors that a caller may want to tell apart.
export { MachineError, NativeError, NotFiniteError, UserError, ValidationError } from "./lib/core/errors.ts";

// Every type that the above speaks of.
export type * from "./lib/activations/registry.ts";
export type * from "./lib/adapters/adapter.ts";
export type * from "./lib/adapters/files/adapter_files.ts";
export type * from "./lib/adapters/files/base_model.ts";
export type * from "./lib/adapters/files/file_format.ts";
export type * from "./lib/adapters/lora/options.ts";
export type * from "./lib/adapters/option_source.ts";
export type * from "./lib/adapters/parallel.ts";
export type * from "./lib/adapters/registry.ts";
export type * from "./lib/adapters/sparse/config.ts";
export type * from "./lib/core/dtype.ts";
export type * from "./lib/core/errors.ts";
export type * from "./lib/core/json.ts";
export type * from "./lib/core/rng.ts";
export type * from "./lib/data/batch.ts";
export type * from "./lib/data/batches.ts";
export type * from "./lib/data/chat_message.ts";
export type * from "./lib/data/chat_template.ts";
export type * from "./lib/data/dataset.ts";
export type * from "./lib/data/examples.ts";
export type * from "./lib/data/format_options.ts";
export type * from "./lib/data/load_data.ts";
export type * from "./lib/data/preview.ts";
export type * from "./lib/data/row_error.ts";
export type * from "./lib/data/row_shapes.ts";
export type * from "./lib/data/row_warnings.ts";
export type * from "./lib/data/rows.ts";
export type * from "./lib/data/tokenizer.ts";
export type { TokenizerFiles } from "./lib/data/tokenizer_files.ts";
export type { Encoding } from "./lib/data/tokenizer_library.ts";
export type * from "./lib/evaluate/complete.ts";
export type * from "./lib/evaluate/decoder_session.ts";
export type * from "./lib/evaluate/generate.ts";
export type * from "./lib/evaluate/gsm8k.ts";
export type * from "./lib/evaluate/loss.ts";
export type * from "./lib/evaluate/metrics.ts";
export type * from "./lib/evaluate/questions.ts";
export type * from "./lib/evaluate/sampling.ts";
export type * from "./lib/evaluate/score.ts";
export type * from "./lib/methods/methods.ts";
export type * from "./lib/models/engine/stacks.ts";
export type * from "./lib/models/engine/pass.ts";
export type * from "./lib/models/hooks.ts";
export type * from "./lib/models/engine/decode.ts";
export type * from "./lib/models/load.ts";
export type * from "./lib/models/model.ts";
export type * from "./lib/models/parts.ts";
export type * from "./lib/models/rope.ts";
export type { KeyValues } from "./lib/models/sublayers/context.ts";
export type * from "./lib/native/arena.ts";
export type { ArenaMark } from "./lib/native/arena_layout.ts";
export type * from "./lib/native/context.ts";
export type * from "./lib/native/ledger.ts";
export type * from "./lib/ops/kernels/device.ts";
export type * from "./lib/ops/kernels/kernels.ts";
export type * from "./lib/ops/kernels/model.ts";
export type * from "./lib/ops/kernels/place.ts";
export type * from "./lib/ops/kernels/rows.ts";
export type * from "./lib/ops/native/native_kernels.ts";
export type * from "./lib/ops/reference/reference.ts";
export type * from "./lib/ops/rotary.ts";
export type * from "./lib/ops/sparse.ts";
export type * from "./lib/optim/adamw.ts";
export type * from "./lib/optim/clip.ts";
export type * from "./lib/optim/optimizer.ts";
export type * from "./lib/optim/parameters.ts";
export type * from "./lib/optim/registry.ts";
export type * from "./lib/optim/schedule.ts";
export type * from "./lib/evaluate/activity.ts";
export type * from "./lib/study/ablate.ts";
export type * from "./lib/study/grid.ts";
export type * from "./lib/study/prepare.ts";
export type * from "./lib/study/results.ts";
export type * from "./lib/study/scoring.ts";
export type * from "./lib/study/summary.ts";
export type * from "./lib/train/settings.ts";
export type * from "./lib/tensor/checkpoint_index.ts";
export type * from "./lib/tensor/safetensors.ts";
export type * from "./lib/tensor/tensor.ts";
export type * from "./lib/train/adapters.ts";
export type * from "./lib/train/batches.ts";
export type * from "./lib/train/lanes.ts";
export type * from "./lib/train/lane_account.ts";
export type * from "./lib/train/layer_updates.ts";
export type * from "./lib/train/placement.ts";
export type * from "./lib/train/cost_model.ts";
export type * from "./lib/adapters/sparse/row_cache.ts";
export type * from "./lib/adapters/sparse/row_slots.ts";
export type * from "./lib/ops/host_link.ts";
export type * from "./lib/ops/host_times.ts";
export type * from "./lib/core/job_queue.ts";
export type * from "./lib/train/loop.ts";
export type * from "./lib/train/memory.ts";
export type * from "./lib/train/calibration.ts";
export type * from "./lib/train/device_memory.ts";
export type * from "./lib/train/dry_run.ts";
export type * from "./lib/train/fit.ts";
export type * from "./lib/train/step_load.ts";
export type * from "./lib/train/work.ts";
export type * from "./lib/models/footprint.ts";
export type * from "./lib/merge/merge.ts";
export type * from "./lib/merge/merge_check.ts";
export type * from "./lib/merge/merged_checkpoint.ts";
export type * from "./lib/train/open_model.ts";
export type * from "./lib/train/plan.ts";
export type * from "./lib/train/state.ts";
export type * from "./lib/train/step.ts";
