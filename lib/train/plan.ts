// SPDX-License-Identifier: Apache-2.0
/** From options to a run: every choice made, every mistake found at once. Allocates nothing. */
import { possibleActivations } from "../activations/registry.ts";
import { type Adapter, undoRefusal } from "../adapters/adapter.ts";
import {
  checkAdapterTensors,
  type SavedAdapter,
  vocabularyProblem,
} from "../adapters/files/saved_adapter.ts";
import type { BaseIdentity } from "../adapters/files/base_model.ts";
import { joinedAdapters, joiningProblems } from "../adapters/joined.ts";
import { frozenTables } from "../adapters/model_part_options.ts";
import { headModules } from "../adapters/modules_to_save.ts";
import { type AdapterSpec, resolveAdapter } from "../adapters/registry.ts";
import { PLAIN } from "../adapters/wiring/options.ts";
import { throwIfAny } from "../core/errors.ts";
import { type Json, jsonDifferences, type JsonObject } from "../core/json.ts";
import { type Method, methodByName, peakRate, sparse } from "../methods/methods.ts";
import { givesTokens } from "../models/heads/head_config.ts";
import type { Model } from "../models/model.ts";
import { moduleOf } from "../models/tensor_names.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { adamw, type OptimizerSpec, resolveOptimizer } from "../optim/registry.ts";
import { modelHash } from "../tensor/model_hash.ts";
import { type PlacementChoice, resolvePlacement, type RunPlacement } from "./placement.ts";
import { resolveSettings, type RunChoice, type RunSettings, settingsProblems } from "./run_options.ts";

/** Choices of a run; what is left out takes the method's or the published value. */
export interface RunOptions extends RunChoice, PlacementChoice {
  /** Default: `sparse()`, or that of the adapter to start from. */
  readonly method?: Method;
  /** A saved adapter to start from, by `openAdapter`: it brings its kind and sizes. Default null: a new one. */
  readonly start?: SavedAdapter | null;
  /** What else is trained on the same passes and saved beside it: one of a kind. Default: nothing. */
  readonly also?: readonly AdapterSpec[];
  /** Default: `adamw()`. */
  readonly optimizer?: OptimizerSpec;
}

/** A run: what {@linkcode plan} decided. Nothing is ever written to it. */
export interface Run {
  readonly model: Model;
  readonly method: Method;
  /** Everything that is trained, the method's adapter first. */
  readonly trained: readonly Adapter[];
  /** What each of them was resolved from. */
  readonly specs: AdapterSpecs;
  /** All of that as one: the only one itself. */
  readonly adapterKind: Adapter;
  /** Where the parameters' first values come from; null for a new adapter. */
  readonly start: SavedAdapter | null;
  readonly optimizer: Optimizer;
  readonly settings: RunSettings;
  /** Where and in how many parts the adapter's rows are computed with. */
  readonly rows: RunPlacement;
  /** Its content is known of a run under way that has a folder. */
  readonly base: BaseIdentity;
  /** Optimizer steps in all; null for a run by epochs whose data is not known: see `runOn`. */
  readonly totalSteps: number | null;
}

/**
 * Decides everything about a run.
 *
 * @throws {ValidationError} Listing all mistakes at once
 */
export function plan(model: Model, options: RunOptions = {}): Run {
  const start = options.start ?? null;
  const method = options.method ?? (start ? methodByName(start.spec.kind) : sparse());
  if (start) throwIfAny("The run", vocabularyProblem(start, model));
  const own = start?.spec ?? withAddedTokenRows(method.adapter, model);
  const { problems: adapterProblems, ...resolved } = resolvedAll(
    [withHeadModules(own, model), ...options.also ?? []],
    model,
  );
  const { trained, adapterKind: adapter } = resolved;
  const lr = peakRate(method, model.config.hiddenSize, headModules(model).length > 0);
  const { optimizer, problems: optimizerProblems } = resolveOptimizer(
    options.optimizer ?? adamw(),
    { ...method.optimizer, lr },
  );
  const settings = resolveSettings(options, usualActivations(method, adapter), model);
  const { decided: rows, problems: rowProblems } = resolvePlacement(options, adapter);
  throwIfAny("The run", [
    ...rowProblems,
    ...startProblems(method, start),
    ...adapterProblems,
    ...(adapterProblems.length === 0 ? joiningProblems(trained, model) : []),
    ...(start !== null && trained.length > 1
      ? [`${start.folder} is one adapter: nothing else can be trained with it`]
      : []),
    ...optimizerProblems,
    ...settingsProblems(settings, model, adapterProblems.length > 0 ? null : undoRefusal(adapter)),
  ]);
  if (start) checkAdapterTensors(start, adapter, model);
  return {
    model,
    method,
    ...resolved,
    start,
    optimizer,
    settings,
    rows,
    base: baseIdentity(model),
    totalSteps: settings.steps,
  };
}

/** Who the model is, for saved adapters and checkpoints; the hash of a model without weights is empty. */
export function baseIdentity(model: Model): BaseIdentity {
  const { head } = model.config;
  return {
    name: model.dir,
    hash: model.weightless ? "" : modelHash(model.dir),
    ...(givesTokens(head) ? {} : { head }),
  };
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
    ...(run.base.head && { head: run.base.head as unknown as JsonObject }),
    ...(isGrown(run.model) && { vocabulary: run.model.config.vocabSize }),
  };
}

/**
 * A spec that also trains the rows of tokens that were added, in every table that has them, unless it says what it trains of the
 * tables itself, or that it trains all of them.
 */
function withAddedTokenRows(spec: AdapterSpec, model: Model): AdapterSpec {
  const added = model.vocabulary?.added ?? [];
  if (added.length === 0 || spec.options["trainableTokenIndices"] !== undefined) return spec;
  const tables = frozenTables(spec.options, model.config);
  if (tables.length === 0 || resolveAdapter(spec, model.config).adapter.trainsModel) return spec;
  const byTable = Object.fromEntries(tables.map((name) => [moduleOf(name), [...added]]));
  return { ...spec, options: { ...spec.options, trainableTokenIndices: byTable } };
}

function isGrown({ config, vocabulary }: Model): boolean {
  return vocabulary !== undefined && vocabulary.storedRows !== config.vocabSize;
}

/** Specs of what is trained, the method's first. */
type AdapterSpecs = readonly [AdapterSpec, ...AdapterSpec[]];

/** What of a run follows from its specs, and what is wrong with them: one sentence each. */
function resolvedAll(
  specs: AdapterSpecs,
  { config }: Model,
): Pick<Run, "specs" | "trained" | "adapterKind"> & { readonly problems: readonly string[] } {
  const { all, problems: apart } = sharingFrozenLayers(specs);
  const resolved = all.map((spec) => resolveAdapter(spec, config));
  const trained = resolved.map(({ adapter }) => adapter) as [Adapter, ...Adapter[]];
  return {
    specs: all,
    trained,
    adapterKind: joinedAdapters(trained),
    problems: [...resolved.flatMap(({ problems }) => problems), ...apart],
  };
}

/** Layers that a wiring leaves frozen have nothing of the adapters beside it either: each is told, and records it. */
function sharingFrozenLayers(
  specs: AdapterSpecs,
): { readonly all: AdapterSpecs; readonly problems: readonly string[] } {
  const coupling = specs.find(({ options }) =>
    options["wiring"] !== undefined && options["wiring"] !== PLAIN
  );
  const { frozenLayers = 0 } = coupling?.options ?? {};
  const lowest = ({ options }: AdapterSpec): Json => options["frozenLayers"] ?? frozenLayers;
  const told = (spec: AdapterSpec): AdapterSpec =>
    lowest(spec) === 0 ? spec : { ...spec, options: { ...spec.options, frozenLayers: lowest(spec) } };
  const apart = coupling ? specs.filter((spec) => lowest(spec) as number < (frozenLayers as number)) : [];
  return {
    all: specs.map(told) as [AdapterSpec, ...AdapterSpec[]],
    problems: apart.map((spec) =>
      `${spec.kind} has frozenLayers ${
        lowest(spec)
      }, but ${coupling?.kind} beside it leaves ${frozenLayers} layers plain: ` +
      `leave it out, or give it at least that`
    ),
  };
}

/** The run with other options of what it trains: such that were found to be right. */
export function withSpecs<R extends Run>(run: R, specs: AdapterSpecs): R {
  const { problems, ...resolved } = resolvedAll(specs, run.model);
  throwIfAny("The run", problems);
  return { ...run, ...resolved };
}

/** A spec beside whose adapter a head of the task's own is trained whole. */
function withHeadModules(spec: AdapterSpec, model: Model): AdapterSpec {
  const head = headModules(model);
  if (head.length === 0 || resolveAdapter(spec, model.config).adapter.trainsModel) return spec;
  const { modulesToSave = [] } = spec.options;
  const chosen = [modulesToSave].flat() as Json[];
  return { ...spec, options: { ...spec.options, modulesToSave: [...new Set([...chosen, ...head])] } };
}

/** What backward remembers where nobody chose: coupled layers are undone where they can be. */
function usualActivations({ activations }: Method, adapter: Adapter): Method["activations"] {
  if (adapter.wiring === undefined) return activations;
  return possibleActivations(undoRefusal(adapter) === null).at(-1) ?? activations;
}

function startProblems({ name, adapter }: Method, start: SavedAdapter | null): string[] {
  if (start === null) return [];
  if (adapter.kind !== start.spec.kind) {
    return [`method is "${name}", but ${start.folder} holds a ${start.spec.kind} adapter`];
  }
  // A method that the adapter was trained by says what the adapter says.
  const chosen = Object.entries(adapter.options)
    .filter(([name, value]) => jsonDifferences(start.spec.options[name] ?? null, value).length > 0);
  const options = chosen.map(([name]) => name).join(", ");
  return options === "" ? [] : [`${options} cannot be chosen: ${start.folder} brings its own`];
}
