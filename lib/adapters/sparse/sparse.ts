// SPDX-License-Identifier: Apache-2.0
/**
 * The sparse adapter with Key-Experts (MEFT, Hao et al., ACL 2024) beside the feed-forward of every layer.
 * Keys and values are row matrices in host memory; a token reads the rows of its experts and fires few of them.
 */
import { recordedOptions } from "../../core/option_checks.ts";
import { type BranchHook, branchHooks } from "../../models/hooks.ts";
import type { ModelConfig } from "../../models/model.ts";
import { account } from "../../native/ledger.ts";
import type { Parameter, RowGradient, RowParameter } from "../../optim/parameters.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { createRowGradients, rowGradientBytes } from "../../ops/row_gradients.ts";
import type { SparseParams } from "../../ops/sparse.ts";
import { pairsPerToken, unitedNeurons } from "../../ops/sparse_pairs.ts";
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, AttachOptions, Resolved } from "../adapter.ts";
import { addedTensorName } from "../adapter.ts";
import type { AdapterDefinition, ResolveContext } from "../definition.ts";
import { type ByLayer, layerAt, present, recordedFrozen, trainedModules } from "../frozen_layers.ts";
import { createRowSlots, type RowSlots, type RowTraffic } from "./row_slots.ts";
import { deviceBranch } from "./device.ts";
import { hostBranch } from "./host.ts";
import type { SparseLayer } from "./layer.ts";
import { resolveSparse, SPARSE_OPTIONS, type SparseOptions, type SparseSettings } from "./config.ts";

/** Rows drawn from one random stream, so that a large matrix is filled piece by piece. Part of the definition. */
const ROWS_PER_STREAM = 1024;
/** Streams of a layer: pieces of its keys from 0 up, its router last. */
const STREAMS_PER_LAYER = 1 << 16;

/** The sparse adapter. */
export const SPARSE = {
  kind: "sparse",
  summary: "a huge sparse adapter in host memory (MEFT, ACL 2024)",
  options: SPARSE_OPTIONS,
  rows: true,
  lr: 1e-4,
  headLr: 3e-4,
  resolve: sparseAdapter,
} as const satisfies AdapterDefinition<typeof SPARSE_OPTIONS>;

/** The sparse adapter for a model. */
export function sparseAdapter(
  options: SparseOptions,
  model: ModelConfig,
  { frozenLayers = 0 }: ResolveContext = {},
): Resolved {
  const modulesOf = (config: ModelConfig) => trainedModules(config, "ffn", frozenLayers);
  const { settings, problems } = resolveSparse(options, model.initializerRange);
  const adapter: Adapter = {
    kind: "sparse",
    config: { ...recordedOptions(SPARSE_OPTIONS, settings), ...recordedFrozen(frozenLayers) },
    sites: ["ffn"],
    placements: ["host", "device"],
    selection: settings,
    shrinksBy: { option: "neurons", now: settings.neurons, step: settings.experts },
    ...(settings.scope === "union" && { splitRefusal: "scope union chooses over the whole micro-batch" }),
    mergeRefusal: settings.scope === "token"
      ? "each token chooses neurons of its own (top-K among its experts), which no fixed matrix does"
      : "the neurons of a token are chosen by the tokens beside it (top-K over the micro-batch), which no fixed matrix does",
    sizes: ({ config }, tokensPerStep) =>
      sparseSizes(settings, modulesOf(config), config.hiddenSize, tokensPerStep),
    create(k, { config }, tokensPerStep) {
      const layers = modulesOf(config).map((module) =>
        module === null ? null : createLayer(k, settings, module, config.hiddenSize, tokensPerStep)
      );
      return sparseParams(k, adapter, settings, layers);
    },
  };
  return { adapter, problems };
}

/** Rows that one step can touch: what its tokens choose. Scope `union` shares them, but adds none that nobody chose. */
function touchableRows(settings: SparseSettings, tokensPerStep: number): number {
  return Math.min(settings.neurons, tokensPerStep * pairsPerToken(settings));
}

function sparseSizes(
  settings: SparseSettings,
  modules: ByLayer<string>,
  hiddenSize: number,
  tokensPerStep: number,
): AdapterSizes {
  const { neurons, experts } = settings;
  const parameters = present(modules).flatMap((module) => [
    {
      name: addedTensorName(module, "router"),
      shape: [experts, hiddenSize],
      count: experts * hiddenSize,
      rows: null,
      trained: routerIsTrained(settings),
    },
    {
      name: addedTensorName(module, "keys"),
      shape: [neurons, hiddenSize],
      count: neurons * hiddenSize,
      rows: neurons,
      trained: settings.keys === "trained",
    },
    {
      name: addedTensorName(module, "values"),
      shape: [neurons, hiddenSize],
      count: neurons * hiddenSize,
      rows: neurons,
      trained: true,
    },
  ]);
  return {
    parameters,
    rows: {
      startShare: (experts + neurons) / (experts + 2 * neurons),
      slotShare: touchableRows(settings, tokensPerStep) / neurons,
      touchedShare: (tokens) => unitedNeurons({ ...settings, tokens }) / neurons,
    },
  };
}

/** Without a gate the router only selects, which has no gradient. */
function routerIsTrained(settings: SparseSettings): boolean {
  return settings.gate !== "none";
}

function sparseParams(
  k: Kernels,
  adapter: Adapter,
  settings: SparseSettings,
  layers: ByLayer<SparseLayer>,
): AdapterParams {
  const own = present(layers);
  const byLayer = layers.map((one): Parameter[] => one === null ? [] : [one.router, one.keys, one.values]);
  const rowSlots = new Map<number, RowSlots>();
  const branch = (own: Kernels, options: AttachOptions): BranchHook => {
    const { placement } = options;
    if (placement?.kind !== "device") return hostBranch(own, settings, layers, options);
    const slotsOf = (layer: number): RowSlots => {
      const found = rowSlots.get(layer) ??
        createRowSlots(k, layerAt(layers, layer).params, Math.min(settings.neurons, placement.cachedRows));
      rowSlots.set(layer, found);
      return found;
    };
    return deviceBranch(own, settings, layers, slotsOf, options);
  };
  return {
    adapter,
    collectGradients: async () => {
      for (const slots of rowSlots.values()) await slots.collect();
    },
    forgetRows: () => rowSlots.forEach((slots) => slots.forget()),
    rowTraffic: () => rowSlots.size === 0 ? null : sumTraffic([...rowSlots.values()]),
    parameters: byLayer.flat(),
    byLayer,
    init: (k, seed) => layers.forEach((one, layer) => one && initLayer(k, settings, one.params, seed, layer)),
    attach: (k, options = {}) => ({ hooks: branchHooks("ffn", branch(k, options)) }),
    activeNeurons: () =>
      own.reduce((sum, { params }) => sum + params.gradients.rowCount, 0) / Math.max(1, own.length),
    layerActivity: () =>
      own.map(({ params: { gradients }, expertTokens }) => ({
        neurons: settings.neurons,
        firedNeurons: gradients.rows.subarray(0, gradients.rowCount),
        expertTokens,
      })),
    release: () => {
      rowSlots.forEach((slots) => slots.release());
      rowSlots.clear();
      for (const { params } of own) {
        account(k.ledger, "parameters", -parameterBytes(params));
        account(
          k.ledger,
          "gradients",
          -rowGradientBytes(params.gradients) - (params.gateGrad?.byteLength ?? 0),
        );
      }
    },
  };
}

function sumTraffic(layers: readonly RowSlots[]): RowTraffic {
  const sum = { hits: 0, misses: 0, evictions: 0, upBytes: 0, downBytes: 0 };
  for (const { traffic } of layers) {
    for (const name of Object.keys(sum) as (keyof RowTraffic)[]) sum[name] += traffic[name];
  }
  return sum;
}

function createLayer(
  k: Kernels,
  settings: SparseSettings,
  module: string,
  hidden: number,
  tokensPerStep: number,
): SparseLayer {
  const { neurons, experts } = settings;
  const trainedKeys = settings.keys === "trained";
  const gateWeight = k.floats(experts * hidden);
  const gateGrad = tokensPerStep > 0 && routerIsTrained(settings) ? k.floats(gateWeight.length) : null;
  const params: SparseParams = {
    gateWeight,
    gateGrad,
    keys: k.rowMatrix(neurons, hidden),
    values: k.rowMatrix(neurons, hidden),
    // Room for a whole step at once: memory of rows that are never touched is reserved, not used.
    gradients: createRowGradients(k, neurons, hidden, {
      keys: trainedKeys,
      slots: touchableRows(settings, tokensPerStep),
    }),
  };
  account(k.ledger, "gradients", gateGrad?.byteLength ?? 0);
  account(k.ledger, "parameters", parameterBytes(params));
  return {
    params,
    router: {
      kind: "dense",
      name: addedTensorName(module, "router"),
      shape: [experts, hidden],
      data: gateWeight,
      grad: gateGrad,
    },
    keys: rowParameter(module, "keys", params, trainedKeys),
    values: rowParameter(module, "values", params, true),
    expertTokens: new Float64Array(experts),
  };
}

function parameterBytes({ gateWeight, keys, values }: SparseParams): number {
  return gateWeight.byteLength + rowMatrixBytes(keys) + rowMatrixBytes(values);
}

function rowMatrixBytes(matrix: RowMatrix): number {
  return matrix.hi.byteLength + matrix.lo.byteLength + (matrix.full?.byteLength ?? 0);
}

function rowParameter(
  module: string,
  part: "keys" | "values",
  params: SparseParams,
  trained: boolean,
): RowParameter {
  const gradient: RowGradient = {
    get touched() {
      return params.gradients;
    },
    get rows() {
      return params.gradients[part] as Floats;
    },
  };
  return {
    kind: "rows",
    name: addedTensorName(module, part),
    matrix: params[part],
    gradient: trained ? gradient : null,
  };
}

/** Published start: keys N(0, std^2), values 0, each router row `routerScale` times the mean key of its expert. */
function initLayer(
  k: Kernels,
  settings: SparseSettings,
  params: SparseParams,
  seed: number,
  layer: number,
): void {
  const { neurons, experts, routerScale, initStd } = settings;
  const { keys, gateWeight } = params;
  const stream = layer * STREAMS_PER_LAYER;
  const expertRows = neurons / experts;
  const sums = settings.routerInit === "keys" ? new Float64Array(experts * keys.cols) : null;
  for (let row = 0; row < neurons; row += ROWS_PER_STREAM) {
    const piece = k.floats(Math.min(ROWS_PER_STREAM, neurons - row) * keys.cols);
    k.randomNormal(piece, seed, stream + row / ROWS_PER_STREAM, initStd);
    k.rowMatrixWrite(keys, piece, row);
    if (sums) addByExpert(sums, piece, row, expertRows, keys.cols);
  }
  if (sums) {
    for (let i = 0; i < sums.length; i++) gateWeight[i] = routerScale * (sums[i] as number) / expertRows;
  } else k.randomNormal(gateWeight, seed, stream + STREAMS_PER_LAYER - 1, initStd);
}

/** sums (N,D) += the rows of each expert; the first row of the piece is `firstRow` of the matrix. @mutates sums */
function addByExpert(
  sums: Float64Array,
  piece: Floats,
  firstRow: number,
  expertRows: number,
  cols: number,
): void {
  for (let row = 0; row < piece.length / cols; row++) {
    const to = Math.floor((firstRow + row) / expertRows) * cols;
    for (let c = 0; c < cols; c++) {
      sums[to + c] = (sums[to + c] as number) + (piece[row * cols + c] as number);
    }
  }
}
