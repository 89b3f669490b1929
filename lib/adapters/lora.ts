// SPDX-License-Identifier: Apache-2.0
/**
 * LoRA (Hu et al., ICLR 2022) on any of the seven weights of a layer: y += s (dropout(x) A^T) B^T beside y = x W^T, with
 * A and B trained in f32. PEFT's names, start values and files.
 */
import { type DropoutMask, randomUniform } from "../core/rng.ts";
import type { LinearHook } from "../models/hooks.ts";
import type { LayerWeights, Model } from "../models/model.ts";
import { LINEAR_SITES, type LinearSite } from "../models/sites.ts";
import type { DenseParameter } from "../optim/parameters.ts";
import type { Kernels } from "../ops/kernels.ts";
import { type LowRank, lowRankBackward, lowRankForward } from "../ops/low_rank.ts";
import { writeFloats } from "../ops/model_memory.ts";
import type { Activation, Floats, Weight } from "../tensor/tensor.ts";
import type {
  Adapter,
  AdapterParams,
  AdapterSizes,
  ParameterSize,
  Resolved,
  TrainingPlace,
  WeightChange,
} from "./adapter.ts";
import { adapterWeight, dropWeights, holdWeights } from "./dense_weights.ts";
import { weightParameter } from "./full.ts";
import { type LoraOptions, loraScale, type LoraSettings, resolveLora } from "./lora_config.ts";

/** Random streams of a layer, of which each site takes one. Part of the definition. */
const STREAMS_PER_LAYER = 8;

/** One weight's delta. */
interface SiteDelta extends LowRank {
  /** Tells the random numbers of weights apart. */
  readonly stream: number;
  /** Name of the weight in the checkpoint. */
  readonly weightName: string;
}

/** LoRA for a model. */
export function loraAdapter(options: LoraOptions): Resolved {
  const { settings, problems } = resolveLora(options);
  const adapter: Adapter = {
    kind: "lora",
    config: { ...settings },
    sites: ["linear"],
    sizes: (model, tokensPerStep) => loraSizes(settings, model, tokensPerStep),
    create: (k, model, tokensPerStep) => createLora(k, adapter, settings, model, tokensPerStep),
  };
  return { adapter, problems };
}

/** PEFT's name of a factor of a weight. */
function factorName(weightName: string, factor: "lora_A" | "lora_B"): string {
  return `base_model.model.${weightName.replace(/weight$/, factor)}.weight`;
}

function loraSizes(
  { rank, targets, dropout }: LoraSettings,
  { weights }: Model,
  tokensPerStep: number,
): AdapterSizes {
  const byLayer = weights.layers.map((layer) =>
    targets.flatMap((site): ParameterSize[] => {
      const { name, rows, cols } = layer[site];
      return [
        { name: factorName(name, "lora_A"), count: rank * cols, rows: null, trained: true },
        { name: factorName(name, "lora_B"), count: rows * rank, rows: null, trained: true },
      ];
    })
  );
  const parameters = byLayer.flat();
  const bytes = parameters.reduce((sum, { count }) => sum + 4 * count, 0);
  const gradientBytes = tokensPerStep > 0 ? bytes : 0;
  return {
    parameters,
    parameterBytes: bytes,
    gradientBytes,
    rows: null,
    gradientPieces: byLayer.map((layer) => tokensPerStep > 0 ? layer.map(({ count }) => 4 * count) : []),
    activations: {
      kept: () => [],
      backward: () => [],
      linear: { sites: new Set(targets), rank, copies: dropout > 0 },
    },
  };
}

function createLora(
  k: Kernels,
  adapter: Adapter,
  settings: LoraSettings,
  model: Model,
  tokensPerStep: number,
): AdapterParams {
  const layers = model.weights.layers.map((layer, index) =>
    createLayer(k, settings, layer, index, tokensPerStep > 0)
  );
  const deltas = layers.flatMap((layer) => [...layer.values()]);
  const weights = deltas.flatMap(({ a, b }) => [a, b]);
  const byLayer = layers.map((layer) =>
    [...layer.values()].flatMap(({ a, b }) => [a, b].map(factorParameter))
  );
  holdWeights(k, weights);
  return {
    adapter,
    parameters: byLayer.flat(),
    byLayer,
    init: (k, seed) => deltas.forEach((delta) => initDelta(k, delta, seed)),
    attach: (k, { training } = {}) => ({
      hooks: { linear: linearHook(k, settings, layers, training ?? null) },
      model,
    }),
    merge: (k) => deltas.map((delta) => mergedWeight(k, delta)),
    activeNeurons: () => 0,
    release: () => dropWeights(k, weights),
  };
}

function createLayer(
  k: Kernels,
  settings: LoraSettings,
  layer: LayerWeights,
  index: number,
  trained: boolean,
): ReadonlyMap<LinearSite, SiteDelta> {
  const delta = (site: LinearSite): SiteDelta => {
    const { name, rows, cols } = layer[site];
    return {
      a: adapterWeight(k, factorName(name, "lora_A"), settings.rank, cols, trained),
      b: adapterWeight(k, factorName(name, "lora_B"), rows, settings.rank, trained),
      scale: loraScale(settings),
      stream: index * STREAMS_PER_LAYER + LINEAR_SITES.indexOf(site),
      weightName: name,
    };
  };
  return new Map(settings.targets.map((site) => [site, delta(site)]));
}

/** A factor stays a matrix when it has one row. */
function factorParameter(weight: Weight): DenseParameter {
  return { ...weightParameter(weight), shape: [weight.rows, weight.cols] };
}

/** PEFT's start: A as torch starts a linear layer, uniform within 1/sqrt(I); B zero. @mutates delta */
function initDelta(k: Kernels, { a, b, stream }: SiteDelta, seed: number): void {
  writeFloats(k, weightParameter(a).data, (data) => randomUniform(data, seed, stream, 1 / Math.sqrt(a.cols)));
  k.zero(weightParameter(b).data);
}

function linearHook(
  k: Kernels,
  { targets, dropout }: LoraSettings,
  layers: readonly ReadonlyMap<LinearSite, SiteDelta>[],
  training: TrainingPlace | null,
): LinearHook {
  const at = (layer: number, site: LinearSite): SiteDelta => {
    const found = layers[layer]?.get(site);
    if (!found) throw new RangeError(`The adapter has no delta for ${site} of layer ${layer}`);
    return found;
  };
  const mask = ({ stream }: SiteDelta, { shape: [, width = 0] }: Activation): DropoutMask | null => {
    if (training === null || dropout === 0) return null;
    const { seed, step, firstToken } = training;
    return { seed, stream: step, part: stream, first: firstToken * width, probability: dropout };
  };
  return {
    sites: new Set(targets),
    forward(layer, site, x, y) {
      const delta = at(layer, site);
      lowRankForward(k, x, y, delta, mask(delta, x));
    },
    backward(layer, site, x, dy, dx) {
      const delta = at(layer, site);
      lowRankBackward(k, x, dy, dx, delta, mask(delta, x));
    },
  };
}

/** W' = W + s B A, each row summed in f64 and rounded once. */
function mergedWeight(k: Kernels, { a, b, scale, weightName }: SiteDelta): WeightChange {
  const [A, B] = [k.read(weightParameter(a).data), k.read(weightParameter(b).data)];
  return {
    name: weightName,
    apply(weights: Floats): void {
      const row = new Float64Array(a.cols);
      for (let o = 0; o < b.rows; o++) {
        const from = o * a.cols;
        for (let i = 0; i < a.cols; i++) row[i] = weights[from + i] as number;
        for (let r = 0; r < a.rows; r++) {
          const factor = scale * (B[o * a.rows + r] as number);
          for (let i = 0; i < a.cols; i++) {
            row[i] = (row[i] as number) + factor * (A[r * a.cols + i] as number);
          }
        }
        weights.set(row, from);
      }
    },
  };
}
