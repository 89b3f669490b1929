// SPDX-License-Identifier: Apache-2.0
/**
 * An adapter on a model whose layers are coupled: what the wiring trains besides, in the same files. Bottlenecks stand alone, or
 * are behind attention, and where the head reads both streams there may be a trained share of the other.
 */
import { ALONE, type Coupling, COUPLINGS } from "../../models/wiring/coupling.ts";
import type { Model, ModelConfig } from "../../models/model.ts";
import { isOfSource } from "../../models/parts.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Weight } from "../../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, ParameterSize, Resolved } from "../adapter.ts";
import {
  backboneActivation,
  bottleneckHook,
  type BottleneckPlaces,
  bottleneckSizes,
  bottleneckWeights,
  createBottlenecks,
  startBottlenecks,
} from "../bottleneck/layers.ts";
import { frozenProblems, trainedModules } from "../frozen_layers.ts";
import { adapterWeight, dropWeights, holdWeights } from "../dense_weights.ts";
import { weightParameter } from "../model_tensors.ts";
import { trainedBeside } from "../trained_beside.ts";
import { areUppermost, isDecoder } from "./modules.ts";
import {
  PLAIN,
  plainProblems,
  recordedWiring,
  resolveWiring,
  USUAL_FRACTION,
  type WiringChoice,
  type WiringSettings,
} from "./options.ts";

/** Name of the trained share of the other stream. */
const ALPHA = "base_model.model.meft.alpha";

/**
 * An adapter under a wiring.
 *
 * @param options As given: they may come from a file
 */
export function withWiring(
  { adapter, problems }: Resolved,
  options: WiringChoice,
  model: ModelConfig,
): Resolved {
  if (!isCoupling(options)) {
    const { frozenLayers, ...others } = options;
    return {
      adapter,
      problems: [...problems, ...plainProblems(others), ...frozenProblems(frozenLayers, model)],
    };
  }
  const { settings, problems: own, warnings } = resolveWiring(options, model);
  if (own.length > 0) return { adapter, problems: [...problems, ...own] };
  return { adapter: coupledAdapter(adapter, settings, model, warnings), problems };
}

function isCoupling(
  options: WiringChoice,
): options is WiringChoice & { readonly wiring: Exclude<WiringChoice["wiring"], "plain" | undefined> } {
  return Object.hasOwn(COUPLINGS, options.wiring ?? PLAIN);
}

function coupledAdapter(
  adapter: Adapter,
  settings: WiringSettings,
  model: ModelConfig,
  warnings: readonly string[],
): Adapter {
  const { of, wiring, streams, fractionBits } = settings;
  const both = trainedBeside(adapter, wiringAdapter(settings, model), recordedWiring(settings));
  const own: Adapter = {
    ...both,
    sites: [...new Set([...adapter.sites, of.alone ? ALONE : "attention"])],
    wiring,
    ...undoing(settings),
    findsFraction: streams === "exact" && fractionBits === null,
    ...(warnings.length > 0 && { warnings }),
    mergeRefusal:
      `the two streams of wiring ${wiring} are another function than the model's layers, whatever these weigh`,
    create(k, model, tokensPerStep) {
      const { merge: _, mergedConfig: __, ...params } = both.create(k, model, tokensPerStep);
      return { ...params, adapter: own };
    },
  };
  return own;
}

/** Why layers cannot be undone; nothing where they can. */
function undoing({ lambda, beta }: WiringSettings): Pick<Adapter, "undoRefusal"> {
  const forgets = lambda === 0 || beta === 0;
  return forgets ? { undoRefusal: "a coefficient of 0 forgets the older stream" } : {};
}

/** What a wiring trains besides. */
function wiringAdapter(settings: WiringSettings, config: ModelConfig): Adapter {
  const { of, combination, frozenLayers } = settings;
  // What the uppermost layer adds to the other stream nobody reads, where it is the model's alone that goes on.
  const isRead = !(of.alone && of.model === "first" && combination === "stream");
  const uppermost = areUppermost(config);
  const places = (): BottleneckPlaces => ({
    modules: trainedModules(config, of.alone ? "ffn" : "attention", frozenLayers)
      .map((module, layer) => isRead || !uppermost[layer] ? module : null),
    prefix: of.alone ? "alone" : "behind",
    neurons: settings.bottleneck,
    hidden: config.hiddenSize,
  });
  const adapter: Adapter = {
    kind: "wiring",
    config: {},
    sites: [],
    placements: ["device"],
    sizes: () => wiringSizes(places(), settings),
    create: (k, model, tokensPerStep) =>
      createWiring(k, adapter, places(), settings, model, tokensPerStep > 0),
  };
  return adapter;
}

function wiringSizes(places: BottleneckPlaces, { combination }: WiringSettings): AdapterSizes {
  const alpha: ParameterSize = { name: ALPHA, shape: [1], count: 1, rows: null, trained: true };
  return {
    parameters: [...bottleneckSizes(places), ...(combination === "alpha" ? [alpha] : [])],
    rows: null,
  };
}

function createWiring(
  k: Kernels,
  adapter: Adapter,
  places: BottleneckPlaces,
  settings: WiringSettings,
  { config, parts }: Model,
  trained: boolean,
): AdapterParams {
  const layers = createBottlenecks(k, places, trained);
  const alpha = settings.combination === "alpha" ? adapterWeight(k, ALPHA, 1, 1, trained) : null;
  const weights = [...layers.flatMap(bottleneckWeights), ...(alpha ? [alpha] : [])];
  const byLayer = layers.map((one) => bottleneckWeights(one).map(weightParameter));
  const coupling = couplingOf(settings, config, alpha);
  const activation = backboneActivation(config);
  holdWeights(k, weights);
  return {
    adapter,
    // The very objects of the layers: by these it is known what a layer's step has moved.
    parameters: [...byLayer.flat(), ...(alpha ? [weightParameter(alpha)] : [])],
    byLayer,
    init(k, seed) {
      startBottlenecks(k, layers, seed, config.initializerRange);
      if (alpha) k.zero(weightParameter(alpha).data);
    },
    attach(k, { training } = {}) {
      const place = new Map([[settings.of.alone ? ALONE : "attention", [
        bottleneckHook(k, layers, activation, {
          probability: settings.bottleneckDropout,
          site: "wiring",
          training,
          readsSource: (layer) => isOfSource(parts, layer),
        }),
      ]]]);
      return { hooks: { coupling, ...(settings.of.alone ? { branch: place } : { behind: place }) } };
    },
    activeNeurons: () => places.neurons,
    release: () => dropWeights(k, weights),
  };
}

/** Fractional bits with room for anything, while it is found out how large values are. */
const PROBING_FRACTION = 6;
/** How much larger than in a first micro-batch values may become. */
const HEADROOM = 4;
/** No more help: functions give f32. */
const MOST_USEFUL_FRACTION = 20;

/** A coupling without adapters that tells how large values become. @param options Of an adapter that finds its fraction */
export function probingCoupling(
  options: WiringChoice,
  model: ModelConfig,
  seen: (largest: number) => void,
): Coupling | null {
  if (!isCoupling(options)) return null;
  const { settings } = resolveWiring(options, model);
  return { ...couplingOf({ ...settings, fractionBits: PROBING_FRACTION }, model, null), seen };
}

/** The fractional bits that values of up to a size leave room for. */
export function fractionFor(largest: number): number {
  const whole = Math.ceil(Math.log2(Math.max(largest, 2 ** -20) * HEADROOM));
  return Math.max(0, Math.min(MOST_USEFUL_FRACTION, 30 - whole));
}

/** The coupling that settings say. */
function couplingOf(settings: WiringSettings, model: ModelConfig, alpha: Weight | null): Coupling {
  const { of, lambda, beta, switchStreams, streams, fractionBits, combination, frozenLayers } = settings;
  const usual = USUAL_FRACTION[isDecoder(model) ? "decoder" : "encoder"];
  return {
    of,
    lambda,
    beta,
    switched: switchStreams,
    streams: streams === "f32" ? { kind: "f32" } : { kind: "exact", fraction: fractionBits ?? usual },
    top: alpha ? { alpha } : combination === "mean" ? "mean" : "stream",
    lowest: frozenLayers,
  };
}
