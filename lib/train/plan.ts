// SPDX-License-Identifier: Apache-2.0
/** From options to a run: every choice made, every mistake found at once, the memory foretold. Allocates nothing. */
import type { ActivationPolicyName } from "../activations/registry.ts";
import { ACTIVATION_POLICIES } from "../activations/registry.ts";
import type { Adapter, AdapterParams } from "../adapters/adapter.ts";
import { checkAdapterTensors, type SavedAdapter } from "../adapters/files/adapter_files.ts";
import type { BaseIdentity } from "../adapters/files/base_model.ts";
import { resolveAdapter } from "../adapters/registry.ts";
import { throwIfAny } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import type { FormatOptions } from "../data/format_options.ts";
import type { Method } from "../methods/method.ts";
import { methodByName } from "../methods/registry.ts";
import { sparse } from "../methods/sparse.ts";
import type { Model } from "../models/model.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { adamw, type OptimizerSpec, resolveOptimizer } from "../optim/registry.ts";
import { modelHash } from "../tensor/model_hash.ts";
import { type MemoryPrediction, predictMemory } from "./memory.ts";
import { type PlacementChoice, resolvePlacement, type RunPlacement } from "./placement.ts";

/** How rows become optimizer steps. */
export interface BatchChoice {
  /** Rows of one optimizer step. Default 64. */
  readonly size?: number;
  /** Rows computed at once. Changes memory, and the result by rounding only. Default 4, or `size` if that is less. */
  readonly micro?: number;
  /** Most tokens of a row. Default 256. */
  readonly seqLen?: number;
  /** Put several examples into a row. Default false: a row is an example. */
  readonly packing?: boolean;
}

/** Choices of a run; what is left out takes the method's or the published value. */
export interface RunOptions extends PlacementChoice {
  /** Default: `sparse()`, or that of the adapter to start from. */
  readonly method?: Method;
  /** A saved adapter to start from, by `openAdapter`: it brings its kind and sizes. Default null: a new one. */
  readonly start?: SavedAdapter | null;
  /** Default: `adamw()`. */
  readonly optimizer?: OptimizerSpec;
  readonly batch?: BatchChoice;
  /** Optimizer steps; wins over `epochs`. Default null: by epochs. */
  readonly steps?: number | null;
  /** Passes over the data. Default 4. */
  readonly epochs?: number;
  /** How the rows of the data became text, to be written down with the run. Default null: nobody knows. */
  readonly format?: FormatOptions | null;
  /** Of the start values and of the order of the data, a whole number below 2^32. Default 42. */
  readonly seed?: number;
  /** What backward remembers; the gradients are the same. Default: the method's, `store`. */
  readonly activations?: ActivationPolicyName;
  /** Run folder; null keeps nothing. Default null. */
  readonly out?: string | null;
  /** Steps between checkpoints; null saves only at the end. Default null. */
  readonly saveEvery?: number | null;
  /** Checkpoints kept, the newest ones; null keeps all. Default 3. */
  readonly saveTotalLimit?: number | null;
  /** Steps between evaluations, when there is data for them; null evaluates only at the end. Default null. */
  readonly evalEvery?: number | null;
}

/** Sizes and cadence of a run, all decided. */
export interface RunSettings {
  readonly batch: Required<BatchChoice>;
  readonly steps: number | null;
  readonly epochs: number;
  /** How the rows of the data became text; null when that was not said. */
  readonly format: FormatOptions | null;
  readonly seed: number;
  readonly activations: ActivationPolicyName;
  readonly out: string | null;
  readonly saveEvery: number | null;
  readonly saveTotalLimit: number | null;
  readonly evalEvery: number | null;
}

/** A run: what {@linkcode plan} decided, and what became of it. */
export interface Run {
  readonly model: Model;
  readonly method: Method;
  readonly adapterKind: Adapter;
  /** Where the parameters' first values come from; null for a new adapter. */
  readonly start: SavedAdapter | null;
  readonly optimizer: Optimizer;
  readonly settings: RunSettings;
  /** Where and in how many parts the adapter's rows are computed with. */
  readonly rows: RunPlacement;
  /** Its content is known from the start of the training on, where there is a run folder. */
  base: BaseIdentity;
  /** Predicted bytes by class: for full rows until the data is known, then for the micro-batches there will be. */
  memory: MemoryPrediction;
  /** Optimizer steps in all; null until the data is known, when the run goes by epochs. */
  totalSteps: number | null;
  /** Parameters of the newest state made for this run; null before `init`. */
  adapter: AdapterParams | null;
}

/**
 * Decides everything about a run.
 *
 * @throws {ValidationError} Listing all mistakes at once
 */
export function plan(model: Model, options: RunOptions = {}): Run {
  const start = options.start ?? null;
  const method = options.method ?? (start ? methodByName(start.spec.kind) : sparse());
  const { adapter, problems: adapterProblems } = resolveAdapter(start?.spec ?? method.adapter, model.config);
  const { optimizer, problems: optimizerProblems } = resolveOptimizer(
    options.optimizer ?? adamw(),
    method.optimizer,
  );
  const settings = resolveSettings(options, method);
  const { decided: rows, problems: rowProblems } = resolvePlacement(options, adapter, model, settings);
  throwIfAny("The run", [
    ...rowProblems,
    ...startProblems(method, start),
    ...adapterProblems,
    ...optimizerProblems,
    ...settingsProblems(settings, model),
  ]);
  if (start) checkAdapterTensors(start, adapter, model);
  return {
    model,
    method,
    adapterKind: adapter,
    start,
    optimizer,
    settings,
    rows,
    base: baseIdentity(model),
    memory: predictMemory(model, adapter, optimizer, settings),
    totalSteps: settings.steps,
    adapter: null,
  };
}

/** Who the model is, for saved adapters and checkpoints; the hash of a model without weights is empty. */
export function baseIdentity(model: Model): BaseIdentity {
  return { name: model.dir, hash: model.weightless ? "" : modelHash(model.dir) };
}

/** Tokens of one optimizer step at most. */
export function tokensPerStep({ batch }: RunSettings): number {
  return batch.size * batch.seqLen;
}

/** Everything that decides the results of a run, but for its data. */
export function runIdentity(run: Run): JsonObject {
  const { batch, seed } = run.settings;
  const { placement, halves } = run.rows;
  return {
    // Ways whose sums are those of the default in another order.
    ...(placement === "host" ? {} : { placement }),
    ...(halves === 1 ? {} : { halves }),
    adapter: { kind: run.adapterKind.kind, ...run.adapterKind.config },
    ...(run.start && { startHash: run.start.tensorsHash }),
    optimizer: { name: run.optimizer.name, ...run.optimizer.config },
    batch: { ...batch },
    seed,
    steps: run.totalSteps,
    compute: run.model.kernels.compute,
    baseHash: run.base.hash,
  };
}

function resolveSettings(options: RunOptions, method: Method): RunSettings {
  const size = options.batch?.size ?? 64;
  return {
    batch: {
      size,
      micro: options.batch?.micro ?? Math.min(4, size),
      seqLen: options.batch?.seqLen ?? 256,
      packing: options.batch?.packing ?? false,
    },
    steps: options.steps ?? null,
    epochs: options.epochs ?? 4,
    format: options.format ?? null,
    seed: options.seed ?? 42,
    activations: options.activations ?? method.activations,
    out: options.out ?? null,
    saveEvery: options.saveEvery ?? null,
    saveTotalLimit: options.saveTotalLimit === undefined ? 3 : options.saveTotalLimit,
    evalEvery: options.evalEvery ?? null,
  };
}

function startProblems({ name, adapter }: Method, start: SavedAdapter | null): string[] {
  if (start === null) return [];
  if (adapter.kind !== start.spec.kind) {
    return [`method is "${name}", but ${start.folder} holds a ${start.spec.kind} adapter`];
  }
  const options = Object.keys(adapter.options).join(", ");
  return options === "" ? [] : [`${options} cannot be chosen: ${start.folder} brings its own`];
}

function settingsProblems(settings: RunSettings, { config }: Model): string[] {
  const problems: string[] = [];
  const count = (name: string, value: number | null, min = 1): void => {
    if (value !== null && !(Number.isSafeInteger(value) && value >= min)) {
      problems.push(`${name} is ${value}, expected a whole number of at least ${min}`);
    }
  };
  const { batch } = settings;
  count("batch.size", batch.size);
  count("batch.micro", batch.micro);
  count("batch.seqLen", batch.seqLen, 2);
  count("steps", settings.steps);
  count("epochs", settings.epochs);
  count("saveEvery", settings.saveEvery);
  count("saveTotalLimit", settings.saveTotalLimit);
  count("evalEvery", settings.evalEvery);
  count("seed", settings.seed, 0);
  if (settings.seed >= 2 ** 32) problems.push(`seed is ${settings.seed}, expected a whole number below 2^32`);
  if (batch.micro > batch.size) {
    problems.push(
      `batch.micro is ${batch.micro}, more than batch.size = ${batch.size}: use at most ${batch.size}`,
    );
  }
  if (batch.seqLen > config.maxPositionEmbeddings) {
    problems.push(
      `batch.seqLen is ${batch.seqLen}, but the model knows ${config.maxPositionEmbeddings} positions: use at most that`,
    );
  }
  const policies = Object.keys(ACTIVATION_POLICIES);
  if (!policies.includes(settings.activations)) {
    problems.push(`activations is "${settings.activations}", expected ${policies.join(", ")}`);
  }
  return problems;
}
