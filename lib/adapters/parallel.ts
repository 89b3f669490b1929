// SPDX-License-Identifier: Apache-2.0
/**
 * The dense parallel adapter: y = ReLU(h A) B beside the feed-forward of every layer. The limit K = r, N = 1 of the
 * sparse adapter without a gate, with every neuron computed for every token.
 */
import { optionProblems, recordedOptions, unknownOptions, withDefaults } from "../core/option_checks.ts";
import type { OptionsOf } from "../core/options.ts";
import { type BranchHook, branchHooks } from "../models/hooks.ts";
import type { Model, ModelConfig } from "../models/model.ts";
import { activationBackward, activationForward } from "../ops/activation.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { linearBackwardWeight, linearForward } from "../ops/linear.ts";
import { writeFloats } from "../ops/model_memory.ts";
import { numel, type Tensor, type Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, Resolved } from "./adapter.ts";
import { addedTensorName } from "./adapter.ts";
import { adapterWeight, dropWeights, holdWeights } from "./dense_weights.ts";
import type { AdapterDefinition, ResolveContext } from "./definition.ts";
import { type ByLayer, isIn, layerAt, present, recordedFrozen, trainedModules } from "./frozen_layers.ts";
import { weightParameter } from "./model_tensors.ts";
import { INIT_STD, neuronsOption } from "./neuron_options.ts";
import { type KeysAndValues, widening, wideningRefusal } from "./widening.ts";

/** Choices of the parallel adapter. */
const PARALLEL_OPTIONS = {
  /** r: key-value pairs in each layer. Default 1024. */
  neurons: neuronsOption(1024),
  /** Standard deviation of the keys at the start; values start at 0. Default: the model's `initializer_range`. */
  initStd: INIT_STD,
} as const;

/** Choices of the parallel adapter. */
export type ParallelOptions = OptionsOf<typeof PARALLEL_OPTIONS>;

/** The parallel adapter. */
export const PARALLEL = {
  kind: "parallel",
  summary: "a dense adapter beside every feed-forward sublayer",
  options: PARALLEL_OPTIONS,
  rows: false,
  lr: 1e-4,
  headLr: 1e-3,
  resolve: parallelAdapter,
} as const satisfies AdapterDefinition<typeof PARALLEL_OPTIONS>;

function parallelAdapter(
  options: ParallelOptions,
  model: ModelConfig,
  { frozenLayers = 0 }: ResolveContext = {},
): Resolved {
  const settings = { initStd: model.initializerRange, ...withDefaults(PARALLEL_OPTIONS, options) };
  const { neurons } = settings;
  const problems = [
    ...unknownOptions(PARALLEL_OPTIONS, options, "the parallel adapter"),
    ...optionProblems(PARALLEL_OPTIONS, settings),
  ];
  const adapter: Adapter = {
    kind: "parallel",
    config: { ...recordedOptions(PARALLEL_OPTIONS, settings), ...recordedFrozen(frozenLayers) },
    sites: ["ffn"],
    placements: ["device"],
    shrinksBy: { option: "neurons", now: neurons, step: 1 },
    ...wideningRefusal(model),
    sizes: ({ config }) => parallelSizes(neurons, trainedModules(config, "ffn", frozenLayers), config),
    create: (k, model, tokensPerStep) =>
      createParallel(k, adapter, { ...settings, frozenLayers }, model, tokensPerStep),
  };
  return { adapter, problems };
}

function parallelSizes(
  neurons: number,
  modules: ByLayer<string>,
  { hiddenSize }: ModelConfig,
): AdapterSizes {
  const shape = [neurons, hiddenSize];
  const size = (name: string) => ({ name, shape, count: numel(shape), rows: null, trained: true });
  const parameters = present(modules).flatMap((module) => [
    size(addedTensorName(module, "keys")),
    size(addedTensorName(module, "values")),
  ]);
  return { parameters, rows: null };
}

function createParallel(
  k: Kernels,
  adapter: Adapter,
  { neurons, initStd, frozenLayers }: { neurons: number; initStd: number; frozenLayers: number },
  { config }: Model,
  tokensPerStep: number,
): AdapterParams {
  const weight = (name: string): Weight =>
    adapterWeight(k, name, neurons, config.hiddenSize, tokensPerStep > 0);
  const layers = trainedModules(config, "ffn", frozenLayers).map((module): KeysAndValues | null =>
    module === null ? null : {
      keys: weight(addedTensorName(module, "keys")),
      values: weight(addedTensorName(module, "values")),
    }
  );
  const ofLayer = (one: KeysAndValues | null): Weight[] => one === null ? [] : [one.keys, one.values];
  const weights = layers.flatMap(ofLayer);
  const byLayer = layers.map((one) => ofLayer(one).map(weightParameter));
  holdWeights(k, weights);
  return {
    adapter,
    parameters: byLayer.flat(),
    byLayer,
    init: (k, seed) =>
      layers.forEach((one, layer) => {
        if (one === null) return;
        const { keys, values } = one;
        writeFloats(k, weightParameter(keys).data, (data) => k.randomNormal(data, seed, layer, initStd));
        k.zero(weightParameter(values).data);
      }),
    attach: (k) => ({ hooks: branchHooks("ffn", branchHook(k, layers)) }),
    ...(adapter.mergeRefusal === undefined ? widening(config, neurons, layers) : {}),
    activeNeurons: () => neurons,
    release: () => dropWeights(k, weights),
  };
}

/**
 * Keeps nothing of z (T,r) for backward, which makes it again: one product of seven, in place of T r floats a layer. At
 * r 4096, d 1024, 8 layers, 1024 tokens that is 5 % of a step against 128 MiB, a thirteenth of the peak (Zen 5, bf16).
 */
function branchHook(k: Kernels, layers: ByLayer<KeysAndValues>): BranchHook<null> {
  const at = (layer: number): KeysAndValues => layerAt(layers, layer);
  const activation = (h: Tensor, keys: Weight): Tensor =>
    activationForward(k, { x: linearForward(k, h, keys), up: null }, "relu", { inPlace: true });
  return {
    has: (layer) => isIn(layers, layer),
    residualsOnHost: true, // there are none: forward need not run again
    /** z = ReLU(h keys^T), y = z values. */
    forward(layer, h, y) {
      const { keys, values } = at(layer);
      const mark = k.arena.mark();
      k.linearBackwardData(y.data, activation(h, keys).data, values, h.shape[0] ?? 0, false);
      k.arena.release(mark);
      return null;
    },
    /** dz = dy values^T where z > 0; dvalues += z^T dy; dkeys += dz^T h; dh = dz keys. */
    backward(layer, _, h, dy, dh) {
      const { keys, values } = at(layer);
      const tokens = dy.shape[0] ?? 0;
      const mark = k.arena.mark();
      const z = activation(h, keys);
      if (values.grad) {
        k.linearBackwardWeight(values.grad, null, z.data, dy.data, tokens, values.rows, values.cols);
      }
      const inputs = { x: z, up: null };
      const { dx: dz } = activationBackward(k, inputs, "relu", linearForward(k, dy, values), {
        inPlace: true,
      });
      linearBackwardWeight(k, h, keys, dz);
      k.linearBackwardData(dh.data, dz.data, keys, tokens, false);
      k.arena.release(mark);
    },
  };
}
