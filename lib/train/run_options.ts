// SPDX-License-Identifier: Apache-2.0
/** How long a run is, how much it computes at once and what it keeps: its options, and what is decided of them. */
import type { UndoingChoice } from "../activations/policy.ts";
import {
  ACTIVATION_NAMES,
  ACTIVATION_POLICIES,
  type ActivationPolicyName,
  DEFAULT_ACTIVATIONS,
} from "../activations/registry.ts";
import { optionProblems, withDefaults } from "../core/option_checks.ts";
import { choice, type DecidedOptions, integer, type OptionsOf, text, toggle } from "../core/options.ts";
import { DATA_OPTIONS } from "../data/data_options.ts";
import type { FormatOptions } from "../data/format_options.ts";
import type { Model } from "../models/model.ts";
import { lastStack } from "../models/parts.ts";

/** How long it is. */
export const LENGTH_OPTIONS = {
  /** Passes over the data. Default 4. */
  epochs: integer({ min: 1, default: 4, mayChange: true, help: "passes over the data" }),
  /** Optimizer steps; wins over `epochs`. Default null: by epochs. */
  steps: integer({
    min: 1,
    nullable: true,
    insteadOf: "epochs",
    mayChange: true,
    help: "optimizer steps, instead of epochs",
  }),
} as const;

/** How many rows are computed with at once. */
export const BATCH_OPTIONS = {
  /** Rows of one optimizer step. Default 64. */
  size: integer({ min: 1, default: 64, setting: "batchSize", help: "rows of one optimizer step" }),
  /** Rows computed at once. Changes memory, and the result by rounding only. Default 4, or `size` if that is less. */
  micro: integer({
    min: 1,
    default: 4,
    setting: "microBatchSize",
    mayChange: true,
    help: "rows computed at once",
  }),
} as const;

/** How the examples of data become rows. */
export const PACKING_OPTION = {
  /** Put several examples into a row. Default false: a row is an example. */
  packing: toggle({
    default: false,
    identity: "batch.packing",
    help: "fill each row with several examples, kept apart in attention",
  }),
} as const;

/** How it is computed. */
export const COMPUTE_OPTIONS = {
  /** What backward remembers; the gradients are the same. Default: the method's, `store`. */
  activations: choice(ACTIVATION_NAMES, {
    defaultText: DEFAULT_ACTIVATIONS,
    mayChange: true,
    help:
      "what backward remembers: recompute trades time for memory, reversible undoes the layers of a wiring from the last one down",
  }),
  /** Of activations reversible: layers that are undone, from the lowest up; those above are stored. Default null: all. */
  reversibleLayers: integer({
    min: 0,
    nullable: true,
    mayChange: true,
    defaultText: "all",
    help: "layers that activations reversible undoes, from the lowest up; those above are stored",
  }),
  /** Of activations reversible: every how many layers more is kept, and less computed again. Default null: in six layers. */
  anchorEvery: integer({
    min: 1,
    nullable: true,
    mayChange: true,
    defaultText: "6 layers in all",
    help:
      "layers from one that keeps the result of its largest product (with streams f32: its streams) to the next",
  }),
  /** Of the start values and of the order of the data, a whole number below 2^32. Default 42. */
  seed: integer({ min: 0, max: 2 ** 32 - 1, default: 42, help: "of every random choice" }),
} as const;

/** What is kept, and when; and what is done at all. */
export const KEEPING_OPTIONS = {
  /** Run folder; null keeps nothing. Default null. */
  out: text({
    nullable: true,
    path: true,
    ofCall: true,
    defaultText: "runs/<date>-<method>",
    help: "run folder",
  }),
  /** Steps between evaluations, when there is data for them; null evaluates only at the end. Default null. */
  evalEvery: integer({
    min: 1,
    nullable: true,
    ofKeeping: true,
    mayChange: true,
    help: "steps between losses on the evaluation data",
  }),
  /** Steps between checkpoints; null saves only at the end. Default null. */
  saveEvery: integer({
    min: 1,
    nullable: true,
    ofKeeping: true,
    mayChange: true,
    help: "steps between checkpoints",
  }),
  /** Checkpoints kept, the newest ones; null keeps all. Default 3. */
  saveTotalLimit: integer({
    min: 1,
    default: 3,
    nullable: true,
    setting: "saveLimit",
    ofKeeping: true,
    mayChange: true,
    help: "checkpoints kept",
  }),
} as const;

const RUN_OPTIONS = { ...LENGTH_OPTIONS, ...COMPUTE_OPTIONS, ...KEEPING_OPTIONS } as const;

/** How rows become optimizer steps. */
export interface BatchChoice extends OptionsOf<typeof BATCH_OPTIONS>, OptionsOf<typeof PACKING_OPTION> {
  /** Most tokens of a row. Default 256. */
  readonly seqLen?: number;
}

/** Choices of how long a run is, how it is computed and what is kept; what is left out takes the published value. */
export interface RunChoice extends OptionsOf<typeof RUN_OPTIONS> {
  readonly batch?: BatchChoice;
  /** How the rows of the data became text, to be written down with the run. Default null: nobody knows. */
  readonly format?: FormatOptions | null;
}

/** What of a pass is undone; absent where it was not chosen. */
export interface UndoingSettings {
  readonly reversibleLayers?: number;
  readonly anchorEvery?: number;
}

/** {@linkcode RunChoice}, all decided. */
export interface RunSettings
  extends Omit<DecidedOptions<typeof RUN_OPTIONS>, keyof UndoingSettings>, UndoingSettings {
  readonly batch: Required<BatchChoice>;
  /** How the rows of the data became text; null when that was not said. */
  readonly format: FormatOptions | null;
}

/** Decides all of it. @param activations The method's own policy */
export function resolveSettings(
  { batch = {}, format = null, ...options }: RunChoice,
  activations: RunSettings["activations"],
  model: Pick<Model, "parts">,
): RunSettings {
  const { size, micro } = withDefaults(BATCH_OPTIONS, batch);
  const { packing } = withDefaults(PACKING_OPTION, batch);
  const chosen = withDefaults(RUN_OPTIONS, options);
  return {
    batch: {
      size,
      micro: batch.micro ?? Math.min(micro, size),
      seqLen: batch.seqLen ?? pictureTokens(model) ?? DATA_OPTIONS.seqLen.default,
      packing,
    },
    steps: chosen.steps ?? null,
    epochs: chosen.epochs,
    format,
    seed: chosen.seed,
    activations: chosen.activations ?? activations,
    ...undoingOf(chosen),
    out: chosen.out ?? null,
    saveEvery: chosen.saveEvery ?? null,
    saveTotalLimit: chosen.saveTotalLimit,
    evalEvery: chosen.evalEvery ?? null,
  };
}

/** What a pass is told of what it is to remember. */
export function rememberedBy(
  { activations, reversibleLayers, anchorEvery }: RunSettings,
): { readonly activations: ActivationPolicyName; readonly undoing: UndoingChoice } {
  return { activations, undoing: { steps: reversibleLayers, anchorEvery } };
}

/** What was chosen of it: records of runs that undo nothing are as they were before there was a choice. */
function undoingOf(
  { reversibleLayers, anchorEvery }: RunChoice,
): UndoingSettings {
  return {
    ...(typeof reversibleLayers === "number" && { reversibleLayers }),
    ...(typeof anchorEvery === "number" && { anchorEvery }),
  };
}

/** What is wrong with decided settings: one sentence each. @param undoRefusal Why layers cannot be undone; null where they can */
export function settingsProblems(
  settings: RunSettings,
  model: Model,
  undoRefusal: string | null,
): string[] {
  const { batch, activations } = settings;
  const batchSchema = { ...BATCH_OPTIONS, seqLen: DATA_OPTIONS.seqLen, ...PACKING_OPTION };
  const problems = [
    ...optionProblems(batchSchema, { ...batch }, (name) => `batch.${name}`),
    ...optionProblems(RUN_OPTIONS, { ...settings }),
  ];
  const undoes = ACTIVATION_NAMES.includes(activations) && ACTIVATION_POLICIES[activations].undoes;
  if (undoes && undoRefusal !== null) {
    problems.push(`activations is "${activations}", but ${undoRefusal}`);
  }
  for (const name of ["reversibleLayers", "anchorEvery"] as const) {
    if (settings[name] !== undefined && !undoes) {
      problems.push(`${name} says nothing without activations "reversible"`);
    }
  }
  if (batch.micro > batch.size) {
    problems.push(
      `batch.micro is ${batch.micro}, more than batch.size = ${batch.size}: use at most ${batch.size}`,
    );
  }
  const { maxPositionEmbeddings: positions } = model.config;
  const ofPictures = pictureTokens(model);
  if (ofPictures !== null && batch.seqLen !== ofPictures) {
    problems.push(
      `batch.seqLen is ${batch.seqLen}, but a picture has ${ofPictures} tokens for this model: leave it out`,
    );
  } else if (batch.seqLen > positions) {
    problems.push(
      `batch.seqLen is ${batch.seqLen}, but the model knows ${positions} positions: use at most that`,
    );
  }
  return problems;
}

/** Tokens of every picture; null for a model of texts. */
function pictureTokens({ parts }: Pick<Model, "parts">): number | null {
  const { input } = lastStack(parts);
  return input.kind === "patches" ? input.positions.rows : null;
}
