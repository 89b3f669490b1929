// SPDX-License-Identifier: Apache-2.0
/**
 * LoRA (Hu et al., ICLR 2022) on any weights of any layers and of heads, each with a rank and a scale of its own:
 * y += s (dropout(x) A^T) B^T beside y = x W^T, with A and B trained in f32. PEFT's names, start values and files.
 */
import { allOf, andThen } from "../../core/awaitable.ts";
import { type DropoutMask, randomUniform } from "../../core/rng.ts";
import type { LinearHook } from "../../models/hooks.ts";
import { givesTokens } from "../../models/heads/head_config.ts";
import type { Model, ModelConfig } from "../../models/model.ts";
import { buildParts } from "../../models/families/registry.ts";
import { allTensors, headTensors, linearSize, placesOf } from "../../models/part_tensors.ts";
import { headLayer, type Linear, readsSource } from "../../models/parts.ts";
import { moduleOf } from "../../models/tensor_names.ts";
import { modelSites, siteModules } from "../../models/modules.ts";
import type { DenseParameter } from "../../optim/parameters.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { type LowRank, lowRankBackward, lowRankForward } from "../../ops/low_rank.ts";
import { writeFloats } from "../../ops/model_memory.ts";
import type { Activation, Floats, Weight } from "../../tensor/tensor.ts";
import type {
  Adapter,
  AdapterParams,
  AdapterSizes,
  ParameterSize,
  Resolved,
  TrainingPlace,
  WeightChange,
} from "../adapter.ts";
import { adapterWeight, dropWeights, holdWeights } from "../dense_weights.ts";
import type { AdapterDefinition, ResolveContext } from "../definition.ts";
import { weightParameter } from "../model_tensors.ts";
import { loraConfig, resolveLora } from "./config.ts";
import { LORA_OPTIONS, type LoraOptions, type LoraSettings } from "./options.ts";
import type { SiteSize } from "./finder.ts";
import { type LoraTable, placeLora } from "./table.ts";
import { moduleNames, trainedWhole } from "./whole_modules.ts";
import { type WholeTensors, withTensors } from "../whole_tensors.ts";

/** Random streams of a layer at least, of which each site takes one. Part of the definition. */
const STREAMS_PER_LAYER = 8;

/** What the rows of a product are of: a batch's tokens, those of its source, or what its head compares. */
type Reading = "tokens" | "source" | "targets";

/** One weight's delta. */
interface SiteDelta extends LowRank {
  /** Tells the random numbers of weights apart. */
  readonly stream: number;
  /** Name of the weight in the checkpoint, and whether it is kept there as (I,O). */
  readonly weightName: string;
  readonly transposed: boolean;
  /** What its rows are of. */
  readonly reads: Reading;
}

/** LoRA. */
export const LORA = {
  kind: "lora",
  summary: "low-rank deltas of the weights, in PEFT's files",
  options: LORA_OPTIONS,
  rows: false,
  lr: 1e-4, // that of PEFT's own comparison of methods
  headLr: 1e-3,
  resolve: loraAdapter,
} as const satisfies AdapterDefinition<typeof LORA_OPTIONS>;

/** LoRA for a model. */
export function loraAdapter(
  options: LoraOptions,
  config: ModelConfig,
  { source = { by: "user" }, modulesToSave, frozenLayers = 0 }: ResolveContext = {},
): Resolved {
  const whole = moduleNames(modulesToSave);
  const sites = modelSites(config);
  const { settings: asked, problems } = resolveLora(options, sites, source, whole);
  // What is wrong with an option says more than what it then matches.
  const { table, settings, problems: misplaced } = problems.length > 0
    ? { table: [], settings: asked, problems: [] }
    : placeLora(asked, config, { source, whole, frozenLayers });
  const adapter: Adapter = {
    kind: "lora",
    config: loraConfig(settings),
    fileNames: sites.words,
    ...(sites.transposed && { fileFields: { fan_in_fan_out: true } }),
    sites: ["linear"],
    placements: ["device"],
    sizes: (model) => loraSizes(table, model),
    create: (k, model, tokensPerStep) => createLora(k, adapter, settings, table, model, tokensPerStep),
  };
  if (frozenLayers > 0 && settings.bias === "all") {
    problems.push(
      `bias all means those of the ${frozenLayers} frozen layers too: take lora_only, or freeze none (frozenLayers 0)`,
    );
  }
  const biases = biasTensors(settings.bias, table, config, whole);
  return { adapter: withTensors(adapter, biases, {}), problems: [...problems, ...misplaced] };
}

/** The biases that are trained too, by their names in PEFT's files: there a module with a delta holds its own as a layer in it. */
function biasTensors(
  which: LoraSettings["bias"],
  table: LoraTable,
  config: ModelConfig,
  whole: readonly string[],
): WholeTensors {
  const parts = buildParts(config, (name) => name);
  const modules = siteModules(config);
  const changed = new Set(
    table.flatMap((sites, layer) => [...sites.keys()].map((site) => modules[layer]?.get(site))),
  );
  // The head of a task is trained whole anyway, and so are modules that were named.
  const ofHead = new Set(givesTokens(config.head) ? [] : headTensors(parts.head));
  const isWhole = (name: string) => ofHead.has(name) || trainedWhole(moduleOf(name), whole);
  const named = allTensors(parts).filter((name) => name.endsWith(".bias") && !isWhole(name)).map(
    (name) => {
      const module = moduleOf(name);
      const has = changed.has(module);
      return { name, has, theirs: `base_model.model.${module}.${has ? "base_layer." : ""}bias` };
    },
  );
  const chosen = named.filter(({ has }) => which === "all" || (which === "lora_only" && has));
  return new Map(chosen.map(({ name, theirs }) => [name, [theirs]]));
}

/** PEFT's name of a factor of a module's weight. */
function factorName(module: string | undefined, factor: "lora_A" | "lora_B"): string {
  return `base_model.model.${module}.${factor}.weight`;
}

function loraSizes(table: LoraTable, { parts, config }: Model): AdapterSizes {
  const size = (name: string, rows: number, cols: number): ParameterSize => {
    return { name, shape: [rows, cols], count: rows * cols, rows: null, trained: true };
  };
  const [places, modules] = [placesOf(parts), siteModules(config)];
  const parameters = table.flatMap((sites, layer) =>
    [...sites].flatMap(([site, { rank }]): ParameterSize[] => {
      const { outputs, inputs } = linearSize(linearAt(places[layer], site));
      return [
        size(factorName(modules[layer]?.get(site), "lora_A"), rank, inputs),
        size(factorName(modules[layer]?.get(site), "lora_B"), outputs, rank),
      ];
    })
  );
  return { parameters, rows: null };
}

function createLora(
  k: Kernels,
  adapter: Adapter,
  settings: LoraSettings,
  table: LoraTable,
  model: Model,
  tokensPerStep: number,
): AdapterParams {
  const modules = siteModules(model.config);
  const streams = Math.max(STREAMS_PER_LAYER, ...modules.map((sites) => sites.size));
  const head = headLayer(model.parts);
  const reading = (layer: number, site: string): Reading => {
    if (layer === head) return "targets";
    return readsSource(model.parts, layer, site) ? "source" : "tokens";
  };
  const layers = placesOf(model.parts).map((linears, index) => {
    const places = {
      linears,
      modules: modules[index] ?? new Map(),
      firstStream: index * streams,
      reads: (site: string) => reading(index, site),
    };
    return createLayer(k, table[index] ?? new Map(), places, tokensPerStep > 0);
  });
  const deltas = layers.flatMap((layer) => [...layer.values()]);
  const weights = deltas.flatMap(({ a, b }) => [a, b]);
  const byPlace = layers.map((layer) =>
    [...layer.values()].flatMap(({ a, b }) => [a, b].map(factorParameter))
  );
  holdWeights(k, weights);
  return {
    adapter,
    parameters: byPlace.flat(),
    byLayer: byPlace.slice(0, head),
    init: (k, seed) => deltas.forEach((delta) => initDelta(k, delta, seed)),
    attach: (k, { training } = {}) => ({
      hooks: { linear: [linearHook(k, settings, layers, training ?? null)] },
    }),
    merge: (k) => deltas.map((delta) => mergedWeight(k, delta)),
    activeNeurons: () => 0,
    release: () => dropWeights(k, weights),
  };
}

/** A layer, or the head, as its deltas see it. */
interface LayerPlaces {
  readonly linears: readonly Linear[];
  /** Of all sites, in order: the names of their modules. */
  readonly modules: ReadonlyMap<string, string>;
  readonly firstStream: number;
  readonly reads: (site: string) => Reading;
}

function createLayer(
  k: Kernels,
  sites: ReadonlyMap<string, SiteSize>,
  { linears, modules, firstStream, reads }: LayerPlaces,
  trained: boolean,
): ReadonlyMap<string, SiteDelta> {
  const all = [...modules.keys()];
  const delta = (site: string, { rank, scale }: SiteSize): SiteDelta => {
    const linear = linearAt(linears, site);
    const { outputs, inputs } = linearSize(linear);
    return {
      a: adapterWeight(k, factorName(modules.get(site), "lora_A"), rank, inputs, trained),
      b: adapterWeight(k, factorName(modules.get(site), "lora_B"), outputs, rank, trained),
      scale,
      stream: firstStream + all.indexOf(site),
      weightName: linear.weight.name,
      transposed: linear.transposed === true,
      reads: reads(site),
    };
  };
  return new Map([...sites].map(([site, size]) => [site, delta(site, size)]));
}

/** The product of a site. */
function linearAt(linears: readonly Linear[] | undefined, site: string): Linear {
  const found = linears?.find((linear) => linear.site === site);
  if (!found) throw new RangeError(`The model has no site "${site}"`);
  return found;
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
  { dropout }: LoraSettings,
  layers: readonly ReadonlyMap<string, SiteDelta>[],
  training: TrainingPlace | null,
): LinearHook {
  const at = (layer: number, site: string): SiteDelta => {
    const found = layers[layer]?.get(site);
    if (!found) throw new RangeError(`The adapter has no delta for ${site} of layer ${layer}`);
    return found;
  };
  const mask = (
    { stream, reads }: SiteDelta,
    { shape: [, width = 0] }: Activation,
  ): DropoutMask | null => {
    if (training === null || dropout === 0) return null;
    const { seed, step, firstToken, firstSource = firstToken, firstTarget = firstToken } = training;
    const first = { tokens: firstToken, source: firstSource, targets: firstTarget }[reads];
    return { seed, stream: step, part: stream, first: first * width, probability: dropout };
  };
  return {
    has: (layer, site) => layers[layer]?.has(site) === true,
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

function mergedWeight(k: Kernels, delta: SiteDelta): WeightChange {
  const factors = [delta.a, delta.b].map((factor) => weightParameter(factor).data);
  return {
    name: delta.weightName,
    apply: (weights) =>
      andThen(allOf(factors.map((data) => k.read(data))), (read) => {
        const [A, B] = read as [Floats, Floats];
        foldInto(weights, delta, A, B);
      }),
  };
}

/** W' = W + s B A, each row summed in f64 and rounded once. @mutates weights */
function foldInto(weights: Floats, { a, b, scale, transposed }: SiteDelta, A: Floats, B: Floats): void {
  const row = new Float64Array(a.cols);
  const [perOutput, perInput] = transposed ? [1, b.rows] : [a.cols, 1];
  for (let o = 0; o < b.rows; o++) {
    const from = o * perOutput;
    for (let i = 0; i < a.cols; i++) row[i] = weights[from + i * perInput] as number;
    for (let r = 0; r < a.rows; r++) {
      const factor = scale * (B[o * a.rows + r] as number);
      for (let i = 0; i < a.cols; i++) {
        row[i] = (row[i] as number) + factor * (A[r * a.cols + i] as number);
      }
    }
    for (let i = 0; i < a.cols; i++) weights[from + i * perInput] = row[i] as number;
  }
}
