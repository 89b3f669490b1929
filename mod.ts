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
 * const training = meft.train(run, facts);
 * for await (const { step, loss } of training) console.log(step, loss);
 * console.log(await meft.generate(model, "Question: Who founded Miawick?", { adapter: training.adapter }));
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
 * What a loop, a study or a notebook needs stands here. The layers below (kernels, op pairs, the engine) are in `meft/internals`,
 * charts and tables for notebooks in `meft/report`.
 *
 * @module
 */

// A model and its data.
export { loadModel, preview } from "./lib/train/open_model.ts";
export { BadRowsError } from "./lib/data/bad_rows.ts";
export { loadData } from "./lib/data/load_data.ts";
export { loadTokenizer } from "./lib/data/tokenizer.ts";
export type { OpenModel, OpenModelOptions } from "./lib/train/open_model.ts";
export type { Model, ModelConfig } from "./lib/models/model.ts";
export type { DataReport, Dataset } from "./lib/data/dataset.ts";
export type { LoadDataOptions } from "./lib/data/load_data.ts";
export type { LoadProgress } from "./lib/data/map_rows.ts";
export type { FormatOptions, OwnTemplate } from "./lib/data/format_options.ts";
export type { Tokenizer } from "./lib/data/tokenizer.ts";
export type { Batch } from "./lib/data/batch.ts";
export type { MicroBatch, StepData } from "./lib/data/batches.ts";
export type { BadRow, RowPlace } from "./lib/data/rows.ts";

// What is trained, and how.
export {
  bottleneck,
  full,
  lora,
  meft1,
  meft2,
  meft3,
  METHOD_NAMES,
  methodByName,
  parallel,
  sparse,
  tokens,
} from "./lib/methods/methods.ts";
export { adamw } from "./lib/optim/registry.ts";
export { constant, cosine, linear } from "./lib/optim/schedule.ts";
export type { Method } from "./lib/methods/methods.ts";
export type { AdapterSpec } from "./lib/adapters/registry.ts";
export type { SparseOptions } from "./lib/adapters/sparse/config.ts";
export type { BottleneckOptions } from "./lib/adapters/bottleneck/bottleneck.ts";
export type { ParallelOptions } from "./lib/adapters/parallel.ts";
export type { WiringChoice } from "./lib/adapters/wiring/options.ts";
export type { ModelPartChoice } from "./lib/adapters/model_part_options.ts";
export type { LoraOptions } from "./lib/adapters/lora/options.ts";
export type { OptimizerSpec } from "./lib/optim/registry.ts";
export type { AdamwOptions } from "./lib/optim/adamw.ts";
export type { Schedule, ScheduleKind, Warmup } from "./lib/optim/schedule.ts";
export type { ActivationPolicyName } from "./lib/activations/registry.ts";

// Before training: what it will be, and what it will take.
export { plan } from "./lib/train/plan.ts";
export { planMeasured } from "./lib/predict/placement.ts";
export { dryRun } from "./lib/predict/dry_run.ts";
export { predictMemory } from "./lib/predict/memory.ts";
export { describeModel } from "./lib/models/described.ts";
export { availableHostBytes, peakHostBytes, residentBytes } from "./lib/native/host_memory.ts";
export type { Run, RunOptions } from "./lib/train/plan.ts";
export type { BatchChoice, RunSettings } from "./lib/train/run_options.ts";
export type { PlacementChoice } from "./lib/train/placement.ts";
export type { TrainSettings } from "./lib/train/settings.ts";
export type { DryRun, DryRunOptions } from "./lib/predict/dry_run.ts";
export type { MemoryPrediction } from "./lib/predict/memory.ts";

// Training: the loop, and the step for those who write their own.
export { batches } from "./lib/train/batches.ts";
export { train } from "./lib/predict/train.ts";
export { accumulate, NonFiniteError, trainStep, update } from "./lib/train/step.ts";
export { flushState, init } from "./lib/train/state.ts";
export { clipFactor, globalNorm } from "./lib/optim/clip.ts";
export type { TrainEvent, Training, TrainOptions, TrainResult } from "./lib/train/loop.ts";
export type { StepMetrics } from "./lib/train/step.ts";
export type { TrainState } from "./lib/train/state.ts";

// What was trained: saved, loaded, folded in.
export { baseOf, loadAdapter, openAdapter, saveAdapter } from "./lib/train/adapters.ts";
export { mergeAdapter } from "./lib/merge/merge.ts";
export type { AdapterParams, Attached, LayerActivity } from "./lib/adapters/adapter.ts";
export type { LoadAdapterOptions } from "./lib/adapters/files/adapter_files.ts";
export type { SavedAdapter } from "./lib/adapters/files/saved_adapter.ts";
export type { MergeOptions, MergeReport } from "./lib/merge/merge.ts";
export type { MergedDType } from "./lib/merge/merged_checkpoint.ts";

// Tasks: what is learnt, and with which head.
export { openTask } from "./lib/train/open_task.ts";
export type { OpenTask, TaskChoice } from "./lib/train/open_task.ts";
export type { Scoring, Task, TaskModel } from "./lib/tasks/task.ts";
export type { HeadConfig } from "./lib/models/heads/head_config.ts";

// Studies: grids of runs.
export { ablate, listCells } from "./lib/study/ablate.ts";
export { readResults } from "./lib/study/results.ts";
export { groupBySeed } from "./lib/study/summary.ts";
export type { AblateOptions, CellPlace, FinishedCell, PlannedCell } from "./lib/study/ablate.ts";
export type { TrainedCell } from "./lib/study/run_cell.ts";
export type { Grid } from "./lib/study/grid.ts";
export type { CellActivity, CellNumbers, CellResult } from "./lib/study/results.ts";
export type { SeedGroup } from "./lib/study/summary.ts";

// Answers and scores.
export { generate, streamCompletion } from "./lib/evaluate/generate.ts";
export { loadPrompts, SCORE_NAMES, scoreRows, summarizeScores } from "./lib/evaluate/score.ts";
export { datasetOutputs, estimateScores } from "./lib/evaluate/outputs.ts";
export { scoreTask } from "./lib/evaluate/task_scores.ts";
export { datasetLoss } from "./lib/evaluate/loss.ts";
export { inspectDataset, inspectExample } from "./lib/evaluate/activity.ts";
export { exactMatch, f1 } from "./lib/evaluate/metrics.ts";
export { gsm8kMatch } from "./lib/evaluate/gsm8k.ts";
export type { GenerateOptions } from "./lib/evaluate/generate.ts";
export type { AnswerOptions, FinishReason, GeneratedToken } from "./lib/evaluate/answer_options.ts";
export type { SamplingOptions } from "./lib/evaluate/sampling.ts";
export type { LoadPromptsOptions, RowScore, ScoreName } from "./lib/evaluate/score.ts";
export type { DatasetOutputs, OutputScoring } from "./lib/evaluate/outputs.ts";
export type { ScoredData, Scores, ScoreTaskOptions } from "./lib/evaluate/task_scores.ts";
export type { DatasetLoss, DatasetLossOptions } from "./lib/evaluate/loss.ts";
export type { DatasetActivity } from "./lib/evaluate/activity.ts";
export type { Estimate } from "./lib/evaluate/metrics.ts";

// Errors that a caller may want to tell apart.
export { MachineError, NativeError, NotFiniteError, UserError, ValidationError } from "./lib/core/errors.ts";
export type { Json, JsonObject } from "./lib/core/json.ts";
