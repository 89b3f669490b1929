// SPDX-License-Identifier: Apache-2.0
/**
 * meft: fine-tunes a frozen language model by training a very large, sparsely activated adapter that lives in host memory
 * (MEFT: Memory-Efficient Fine-Tuning through Sparse Adapter, Hao et al., ACL 2024).
 *
 * ```ts ignore
 * import * as meft from "meft";
 *
 * using model = await meft.loadModel("checkpoints/llama");
 * const facts = await meft.loadData("facts.jsonl", model);
 * const run = meft.plan(model, { method: meft.sparse({ neurons: 4096 }), steps: 300, out: "runs/facts" });
 * for await (const { step, loss } of meft.train(run, facts)) console.log(step, loss);
 * console.log(await meft.generate(model, "Where was Mira Oldan born?", { adapter: run.adapter }));
 * ```
 *
 * @module
 */

// A model and its data.
export { loadDataFor as loadData, openModel as loadModel } from "./lib/train/open_model.ts";
export type { OpenModel, OpenModelOptions } from "./lib/train/open_model.ts";
export { loadModel as loadCheckpoint } from "./lib/models/load.ts";
export type { LayerWeights, Model, ModelConfig, ModelWeights } from "./lib/models/model.ts";
export { formatPreview, previewExamples } from "./lib/data/preview.ts";
export type { Dataset } from "./lib/data/dataset.ts";
export type { LoadDataOptions } from "./lib/data/load_data.ts";
export { type BatchOptions, type StepData, trainingSteps } from "./lib/data/batches.ts";
export type { Batch } from "./lib/data/batch.ts";
export { loadTokenizer, type Tokenizer } from "./lib/data/tokenizer.ts";

// What is trained, and how.
export { sparse } from "./lib/methods/sparse.ts";
export { parallel } from "./lib/methods/parallel.ts";
export { full } from "./lib/methods/full.ts";
export { METHOD_NAMES, methodByName } from "./lib/methods/registry.ts";
export type { Method } from "./lib/methods/method.ts";
export type { SparseOptions } from "./lib/adapters/sparse_config.ts";
export type { ParallelOptions } from "./lib/adapters/parallel.ts";
export type { Adapter, AdapterParams } from "./lib/adapters/adapter.ts";
export { adamw } from "./lib/optim/registry.ts";
export type { AdamwOptions } from "./lib/optim/adamw.ts";
export { constant, cosine, linear, type Schedule } from "./lib/optim/schedule.ts";

// Training: the loop, and the step for those who write their own.
export { batchOptions, plan, type Run, type RunOptions } from "./lib/train/plan.ts";
export { train, type TrainEvent, type TrainOptions, type TrainResult } from "./lib/train/loop.ts";
export { accumulate, NonFiniteError, type StepMetrics, trainStep, update } from "./lib/train/step.ts";
export { flushState, init, type TrainState } from "./lib/train/state.ts";
export { loadAdapter, saveAdapter } from "./lib/train/adapters.ts";
export { mergeAdapter, type MergeOptions, type MergeReport } from "./lib/train/merge.ts";
export { clipFactor, globalNorm } from "./lib/optim/clip.ts";

// Answers and scores.
export { complete as generate, type CompleteOptions, streamCompletion } from "./lib/evaluate/complete.ts";
export { generate as generateTokens, type ModelGenerateOptions } from "./lib/evaluate/generate.ts";
export { loadPrompts, scoreRows, summarizeScores } from "./lib/evaluate/score.ts";
export { datasetLoss } from "./lib/evaluate/loss.ts";
export { exactMatch, f1, normalizeAnswer } from "./lib/evaluate/metrics.ts";

// The layers below: kernels, op pairs, the engine.
export { nativeKernels as native } from "./lib/ops/native/native_kernels.ts";
export { referenceKernels as reference } from "./lib/ops/reference/reference.ts";
export type { Kernels } from "./lib/ops/kernels.ts";
export type { RowMatrix, Tensor, Weight } from "./lib/tensor/tensor.ts";
export { inspect } from "./lib/ops/sparse.ts";
export * as ops from "./lib/ops/pairs.ts";
export { evaluateLoss, forwardLogits, lossAndGradients } from "./lib/models/decoder.ts";
export { createKvCache, decodeStep } from "./lib/models/kv_cache.ts";
export type { BranchHook, Hooks, LinearHook } from "./lib/models/hooks.ts";

// Errors that a caller may want to tell apart.
export { NativeError, UserError, ValidationError } from "./lib/core/errors.ts";
