// SPDX-License-Identifier: Apache-2.0
/** A bottleneck beside every feed-forward sublayer (He et al., ICLR 2022), with the model's own activation and biases. */
import { optionProblems, recordedOptions, unknownOptions, withDefaults } from "../../core/option_checks.ts";
import type { OptionsOf } from "../../core/options.ts";
import { branchHooks } from "../../models/hooks.ts";
import type { Model, ModelConfig } from "../../models/model.ts";
import { isOfSource } from "../../models/parts.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Adapter, AdapterParams, Resolved } from "../adapter.ts";
import type { AdapterDefinition, ResolveContext } from "../definition.ts";
import { dropWeights, holdWeights } from "../dense_weights.ts";
import { recordedFrozen, trainedModules } from "../frozen_layers.ts";
import { weightParameter } from "../model_tensors.ts";
import { BOTTLENECK_DROPOUT, INIT_STD, neuronsOption } from "../neuron_options.ts";
import {
  backboneActivation,
  bottleneckHook,
  type BottleneckPlaces,
  bottleneckSizes,
  bottleneckWeights,
  createBottlenecks,
  startBottlenecks,
} from "./layers.ts";

/** Choices of the bottleneck adapter. */
const BOTTLENECK_OPTIONS = {
  /** r: neurons in each layer. Default 8. */
  neurons: neuronsOption(8),
  /** Standard deviation of what reads the input, at the start. Default: the model's `initializer_range`. */
  initStd: INIT_STD,
  /** Dropout of the neurons in training, as of all bottlenecks of a wiring. Default 0. */
  bottleneckDropout: { ...BOTTLENECK_DROPOUT, setting: null }, // its flag is the wiring's
} as const;

/** Choices of the bottleneck adapter. */
export type BottleneckOptions = OptionsOf<typeof BOTTLENECK_OPTIONS>;

/** The bottleneck adapter. */
export const BOTTLENECK = {
  kind: "bottleneck",
  summary: "a thin bottleneck beside every feed-forward sublayer, with the model's own activation",
  options: BOTTLENECK_OPTIONS,
  rows: false,
  lr: 5e-4, // of the published 5e-4 to 8e-4
  headLr: 3e-3, // plain and coupled, see `scripts/study/reversible/minilm_learning_rates.csv`
  resolve: bottleneckAdapter,
} as const satisfies AdapterDefinition<typeof BOTTLENECK_OPTIONS>;

function bottleneckAdapter(
  options: BottleneckOptions,
  model: ModelConfig,
  { frozenLayers = 0 }: ResolveContext = {},
): Resolved {
  const settings = { initStd: model.initializerRange, ...withDefaults(BOTTLENECK_OPTIONS, options) };
  const { neurons, initStd, bottleneckDropout } = settings;
  const problems = [
    ...unknownOptions(BOTTLENECK_OPTIONS, options, "the bottleneck adapter"),
    ...optionProblems(BOTTLENECK_OPTIONS, settings),
  ];
  const places = (): BottleneckPlaces => ({
    modules: trainedModules(model, "ffn", frozenLayers),
    prefix: "",
    neurons,
    hidden: model.hiddenSize,
  });
  const adapter: Adapter = {
    kind: "bottleneck",
    config: { ...recordedOptions(BOTTLENECK_OPTIONS, settings), ...recordedFrozen(frozenLayers) },
    sites: ["ffn"],
    placements: ["device"],
    shrinksBy: { option: "neurons", now: neurons, step: 1 },
    mergeRefusal:
      "its neurons have biases and an activation of their own, which the feed-forward beside it lacks",
    sizes: () => ({ parameters: bottleneckSizes(places()), rows: null }),
    create: (k, model, tokensPerStep) =>
      createAdapter(k, adapter, places(), { initStd, dropout: bottleneckDropout }, model, tokensPerStep > 0),
  };
  return { adapter, problems };
}

function createAdapter(
  k: Kernels,
  adapter: Adapter,
  places: BottleneckPlaces,
  { initStd, dropout }: { readonly initStd: number; readonly dropout: number },
  { config, parts }: Model,
  trained: boolean,
): AdapterParams {
  const layers = createBottlenecks(k, places, trained);
  const weights = layers.flatMap(bottleneckWeights);
  const byLayer = layers.map((one) => bottleneckWeights(one).map(weightParameter));
  const activation = backboneActivation(config);
  holdWeights(k, weights);
  return {
    adapter,
    parameters: byLayer.flat(),
    byLayer,
    init: (k, seed) => startBottlenecks(k, layers, seed, initStd),
    attach: (k, { training } = {}) => ({
      hooks: branchHooks(
        "ffn",
        bottleneckHook(k, layers, activation, {
          probability: dropout,
          site: "beside",
          training,
          readsSource: (layer) => isOfSource(parts, layer),
        }),
      ),
    }),
    activeNeurons: () => places.neurons,
    release: () => dropWeights(k, weights),
  };
}
