// SPDX-License-Identifier: Apache-2.0
/** Several adapters trained as one: on the same passes, by one optimizer, in one checkpoint. Each is saved by itself. */
import { joinedHooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, Attached, AttachOptions, RowReach } from "./adapter.ts";

/** What is wrong with training these together, a sentence for each two of them. */
export function joiningProblems(all: readonly Adapter[], model: Model): string[] {
  const ownerOf = new Map<string, Adapter>();
  const problems = new Map<string, string>();
  const coupling = all.filter(({ wiring }) => wiring !== undefined);
  if (coupling.length > 1) return ["layers can be coupled once: give one of the adapters a wiring"];
  for (const adapter of all) {
    const { parameters, replaces = [] } = adapter.sizes(model, 0);
    for (const name of [...parameters.map(({ name }) => name), ...replaces]) {
      const other = ownerOf.get(name) ?? adapter;
      ownerOf.set(name, other);
      if (other === adapter) continue;
      const two = `${other.kind} and ${adapter.kind}`;
      problems.set(
        two,
        problems.get(two) ?? `${two} cannot be trained together: both have a tensor "${name}"`,
      );
    }
  }
  return [...problems.values()];
}

/** One adapter of several; the only one itself. */
export function joinedAdapters(all: readonly [Adapter, ...Adapter[]]): Adapter {
  const [first] = all;
  if (all.length === 1) return first;
  const selection = all.find((one) => one.selection)?.selection;
  const splitRefusal = all.find((one) => one.splitRefusal)?.splitRefusal;
  const adapter: Adapter = {
    kind: all.map(({ kind }) => kind).join("+"),
    config: Object.fromEntries(all.map(({ kind, config }) => [kind, config])),
    sites: [...new Set(all.flatMap(({ sites }) => sites))],
    placements: all.find(({ placements }) => placements.length > 1)?.placements ?? first.placements,
    ...(selection && { selection }),
    ...(all.some(({ replacesAll }) => replacesAll) && { replacesAll: true }),
    ...wiringOf(all),
    ...(splitRefusal !== undefined && { splitRefusal }),
    mergeRefusal: "it is several adapters: merge one after the other",
    sizes: (model, tokens) => joinedSizes(all.map((one) => one.sizes(model, tokens))),
    create: (k, model, tokens) =>
      joinedParams(adapter, all.map((one) => one.create(k, model, tokens)), model),
  };
  return adapter;
}

/** How they couple the layers: one of them at most does. */
function wiringOf(all: readonly Adapter[]): Partial<Adapter> {
  const warnings = all.flatMap(({ warnings }) => warnings ?? []);
  const one = all.find(({ wiring }) => wiring !== undefined);
  return {
    ...(one &&
      {
        wiring: one.wiring as string,
        ...(one.undoRefusal !== undefined && { undoRefusal: one.undoRefusal }),
      }),
    ...(one?.findsFraction && { findsFraction: true }),
    ...(warnings.length > 0 && { warnings }),
  };
}

/** Shares are of all that is trained, of which what is dense is reached whole. */
function joinedSizes(all: readonly AdapterSizes[]): AdapterSizes {
  const weights = all.map(({ parameters }) =>
    parameters.reduce((sum, { count, trained }) => sum + (trained ? count : 0), 0)
  );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const share = (of: (rows: RowReach) => number): number =>
    all.reduce((sum, { rows }, i) => sum + (rows ? of(rows) : 1) * (weights[i] as number), 0) / total;
  return {
    parameters: all.flatMap(({ parameters }) => parameters),
    replaces: all.flatMap(({ replaces = [] }) => replaces),
    rows: all.every(({ rows }) => rows === null) ? null : {
      startShare: share(({ startShare }) => startShare),
      slotShare: share(({ slotShare }) => slotShare),
      touchedShare: (tokens) => share((rows) => rows.touchedShare(tokens)),
    },
  };
}

function joinedParams(adapter: Adapter, parts: readonly AdapterParams[], model: Model): AdapterParams {
  const layers = Math.max(...parts.map(({ byLayer }) => byLayer.length));
  const fired = parts.find(({ layerActivity }) => layerActivity);
  let replace: ReadonlyMap<string, Weight> | undefined;
  return {
    adapter,
    parts,
    parameters: parts.flatMap(({ parameters }) => parameters),
    byLayer: Array.from(
      { length: layers },
      (_, layer) => parts.flatMap(({ byLayer }) => byLayer[layer] ?? []),
    ),
    init: (k, seed) => parts.forEach((part, i) => part.init(k, seedOf(seed, i))),
    attach(k: Kernels, options?: AttachOptions): Attached {
      const attached = parts.map((part) => part.attach(k, options));
      const hooks = joinedHooks(attached.map((one) => one.hooks));
      if (attached.every((one) => one.replace === undefined)) return { hooks };
      replace ??= joinedWeights(model, attached);
      return { hooks, replace };
    },
    activeNeurons: () => parts.reduce((sum, part) => sum + part.activeNeurons(), 0),
    ...(fired && { layerActivity: () => fired.layerActivity?.() ?? [] }),
    async collectGradients() {
      for (const part of parts) await part.collectGradients?.();
    },
    forgetRows: () => parts.forEach((part) => part.forgetRows?.()),
    rowTraffic: () => parts.map((part) => part.rowTraffic?.() ?? null).find((traffic) => traffic) ?? null,
    release: () => parts.forEach((part) => part.release()),
  };
}

/** The first starts as it does alone; the others draw other numbers. */
function seedOf(seed: number, part: number): number {
  return (seed + part * 0x9e3779b9) >>> 0;
}

/** @throws {RangeError} When two would replace one weight */
function joinedWeights({ dir }: Model, all: readonly Attached[]): ReadonlyMap<string, Weight> {
  const joined = new Map<string, Weight>();
  for (const [name, weight] of all.flatMap(({ replace }) => [...replace ?? []])) {
    if (joined.has(name)) throw new RangeError(`Tensor "${name}" of ${dir} is trained twice`);
    joined.set(name, weight);
  }
  return joined;
}
