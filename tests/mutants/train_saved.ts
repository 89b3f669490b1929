// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of what lib/train saves: parameters, checkpoints, merged models. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const TRAIN_SAVED: readonly Mutant[] = [
  {
    name: "both-flushes-left-out",
    harm: "an exported adapter lacks the steps that its idle rows missed",
    file: "lib/train/state.ts",
    find:
      "  return run.optimizer.flush(run.model.kernels, state.params.parameters, state.optim, state.step);",
    replace: "  return Promise.resolve(void [run, state]);",
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
  {
    name: "checkpoint-not-flushed",
    harm: "parameters of a checkpoint lack the steps that their idle rows missed",
    file: "lib/train/checkpoint.ts",
    find: `  await flushState(run, state);
`,
    replace: "",
    tests: ["tests/unit/train/loop_edges_test.ts"],
  },
  {
    name: "left-loop-not-flushed",
    harm: "an adapter that is used after the loop was left is stale",
    file: "lib/train/loop.ts",
    find: `      await flushState(run, state);
      releaseState`,
    replace: "      releaseState",
    tests: ["tests/unit/train/loop_edges_test.ts"],
  },
  {
    name: "log-not-synced-before-checkpoint",
    harm: "after a loss of power a checkpoint is there and lines of its steps are not",
    file: "lib/train/session.ts",
    find: `  await log?.sync();
`,
    replace: "",
    tests: ["tests/unit/train/durable_test.ts"],
  },
  {
    name: "cut-not-synced",
    harm: "after a loss of power lines of a history that was given up stand among the new ones",
    file: "lib/train/metrics_log.ts",
    find: `    // Lines that come must not stand on the disk before the cut does.
    await file.sync();
`,
    replace: "",
    tests: ["tests/unit/train/durable_test.ts"],
  },
  {
    name: "merged-names-not-synced",
    harm: "after a loss of power a merged model has no tokenizer",
    file: "lib/merge/merged_checkpoint.ts",
    find: `  await syncFolder(to);
`,
    replace: "",
    tests: ["tests/unit/train/durable_test.ts"],
  },
  {
    name: "largest-not-judged",
    harm: "a merge whose one logit is far off is taken for right",
    file: "lib/merge/merge_check.ts",
    find: "largest <= bounds.bound && rms <= bounds.rmsBound",
    replace: "rms <= bounds.rmsBound",
    tests: ["tests/unit/merge/merge_check_test.ts"],
  },
  {
    name: "mean-square-not-judged",
    harm: "a merge that is off everywhere by a little is taken for right",
    file: "lib/merge/merge_check.ts",
    find: "largest <= bounds.bound && rms <= bounds.rmsBound",
    replace: "largest <= bounds.bound",
    tests: ["tests/unit/merge/merge_check_test.ts"],
  },
  {
    name: "names-in-text-order",
    harm: "after step 1,000,000 a run resumes from step 999,999",
    file: "lib/train/checkpoint_folder.ts",
    find: "found.toSorted((a, b) => a.step - b.step)",
    replace: "found",
    tests: ["tests/unit/train/checkpoint_folder_test.ts"],
  },
  {
    name: "six-digits-alone",
    harm: "checkpoints beyond step 999,999 are not found",
    file: "lib/train/checkpoint_folder.ts",
    find: String.raw`const CHECKPOINT = /^step-(\d{6,})$/;`,
    replace: String.raw`const CHECKPOINT = /^step-(\d{6})$/;`,
    tests: ["tests/unit/train/checkpoint_folder_test.ts"],
  },
  {
    name: "null-keeps-none",
    harm: "a run that is to keep all its checkpoints keeps one",
    file: "lib/train/checkpoint_folder.ts",
    find: `  if (limit === null) return;
`,
    replace: `  limit ??= 1;
`,
    tests: ["tests/unit/train/checkpoint_folder_test.ts"],
  },
  {
    name: "one-less-kept",
    harm: "a run keeps one checkpoint less than its limit says",
    file: "lib/train/checkpoint_folder.ts",
    find: "older.length - (limit - 1)",
    replace: "older.length - (limit - 2)",
    tests: ["tests/unit/train/checkpoint_folder_test.ts"],
  },
  {
    name: "limit-null-becomes-three",
    harm: "save limit null keeps three checkpoints",
    file: "lib/train/run_options.ts",
    find: "saveTotalLimit: chosen.saveTotalLimit,",
    replace: "saveTotalLimit: chosen.saveTotalLimit ?? 3,",
    tests: ["tests/unit/train/checkpoint_folder_test.ts"],
  },
  {
    name: "room-for-parameters-alone",
    harm: "a checkpoint is begun for which there is no room",
    file: "lib/train/checkpoint.ts",
    find: "arrayBytes(parameters) + arrayBytes(optimizer)",
    replace: "arrayBytes(parameters)",
    tests: ["tests/unit/train/checkpoint_test.ts"],
  },
  {
    name: "renamed-checkpoint-taken",
    harm: "a checkpoint of another step stands where a step was said to be saved",
    file: "lib/train/checkpoint.ts",
    find: "saved?.step === state.step && ",
    replace: "saved !== null && ",
    tests: ["tests/unit/train/checkpoint_test.ts"],
  },
  {
    name: "unfinished-left",
    harm: "every save that fails leaves its files behind",
    file: "lib/train/checkpoint.ts",
    find: `    await removeQuietly(unfinished);
`,
    replace: "",
    tests: ["tests/unit/train/checkpoint_test.ts"],
  },
  {
    name: "overflow-not-saved",
    harm: "a run whose values outgrow their streams loses all steps since its last checkpoint",
    file: "lib/train/guarded.ts",
    find: "if (state.step > 0) await saveState(session, state, log);\n      const examples",
    replace: "const examples",
    tests: ["tests/unit/train/reversible_test.ts"],
  },
  {
    name: "bits-not-told",
    harm: "a run that went on with other fractional bits does not say so",
    file: "lib/train/run_record.ts",
    find: "OF_ADAPTERS.map((name)",
    replace: "[].map((name)",
    tests: ["tests/unit/train/reversible_test.ts"],
  },
];
