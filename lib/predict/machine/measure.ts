// SPDX-License-Identifier: Apache-2.0
/** Measures what this machine does in a second, in a fraction of one: for estimates and choices, not for records. */
import { releasing } from "../../activations/policy.ts";
import type { RowSelection } from "../../adapters/adapter.ts";
import type { Model } from "../../models/model.ts";
import { linearSize, linearsOf } from "../../models/part_tensors.ts";
import { layersOf, type Linear, lowestOf } from "../../models/parts.ts";
import { arenaActivation, arenaTensor } from "../../ops/arena_tensor.ts";
import { attentionBackward, attentionForward, selfSpans } from "../../ops/attention.ts";
import { countingKernels } from "../../ops/counting/counting_kernels.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearForward } from "../../ops/linear.ts";
import { nativeKernels } from "../../ops/native/native_kernels.ts";
import type { Activation, Tensor, Weight } from "../../tensor/tensor.ts";
import type { Clock } from "../../train/lanes.ts";
import type { Run } from "../../train/plan.ts";
import { type Meter, perSecond, quickest, timeRounds } from "./meter.ts";
import type { LaneRates, MachineRates } from "./rates.ts";
import {
  asBf16,
  fittingLayer,
  LARGEST_ELEMENTS,
  noise,
  noisyLayer,
  passLayer,
  type SampleLayer,
  sampleLayer,
  type SampleSizes,
  sampleWeight,
} from "./samples.ts";

const TOKENS = 512;
/** Rounds of what takes long, or what a run is not to be kept waiting for. */
const ROUNDS = 2;
const BUDGET_MS = 30;

/**
 * The CPU, with shapes of the run's kind cut to a few MiB, on kernels of its own: the model may be one that is only
 * described, and its device another machine's. How long that took is in `calibrationMs`.
 */
export async function calibrate(
  run: Run,
  options: { readonly threads?: number | undefined; readonly clock?: Clock } = {},
): Promise<MachineRates> {
  const clock = options.clock ?? (() => performance.now());
  const start = clock();
  const { model: { config, kernels: { compute } }, adapterKind: { selection } } = run;
  using k = nativeKernels({ compute: compute === "f64" ? "f32" : compute, threads: options.threads });
  const meter = { clock, rounds: 1, budgetMs: BUDGET_MS };
  const tokens = Math.max(1, Math.min(TOKENS, run.settings.batch.micro * run.settings.batch.seqLen));
  return {
    ...await productRates(meter, k, run, tokens),
    attention: await attentionRate(meter, k, run, tokens),
    sparse: selection ? await sparseRate(clock, k, fittingLayer(selection, config.hiddenSize)) : null,
    bandwidth: await bandwidth(meter, k),
    calibrationMs: clock() - start,
  };
}

/** The largest product of a model, the lowest of such, which stands for all of them; null where there is none of that width. */
function largestProduct({ parts }: Model, inputs?: number): Linear | null {
  const size = ({ weight: { rows, cols } }: Linear): number => rows * cols;
  const all = layersOf(parts).flat().flatMap((part) => linearsOf(part));
  return all.filter((linear) => inputs === undefined || linearSize(linear).inputs === inputs)
    .reduce<Linear | null>(
      (most, linear) => most === null || size(linear) > size(most) ? linear : most,
      null,
    );
}

/** With a weight of the checkpoint's type as far as that is f32 or not. */
async function productRates(
  meter: Meter,
  k: Kernels,
  { model }: Run,
  tokens: number,
): Promise<Pick<MachineRates, "linearForward" | "linearBackward">> {
  const linear = largestProduct(model);
  const { outputs: most, inputs: width } = linear ? linearSize(linear) : { outputs: 1, inputs: 1 };
  const cols = Math.min(width, 2048);
  const rows = Math.min(most, Math.floor(LARGEST_ELEMENTS / cols));
  const dtype = linear?.weight.dtype === "f32" ? "f32" : "bf16";
  const weight = sampleWeight(k, { dtype, rows, cols });
  const [x, y] = [noise(k, tokens * cols), k.modelActivations(tokens * rows, "activations")];
  const forward = await quickest(meter, () => k.linearForward(y, x, weight, null, tokens, false));
  const backward = await quickest(meter, () => k.linearBackwardData(x, y, weight, tokens, false));
  const work = productOperations(tokens, weight);
  return { linearForward: perSecond(work, forward), linearBackward: perSecond(work, backward) };
}

function productOperations(tokens: number, { rows, cols }: Pick<Weight, "rows" | "cols">): number {
  return 2 * tokens * rows * cols;
}

/** Two arrays read and one written. */
async function bandwidth(meter: Meter, k: Kernels): Promise<number> {
  const [a, b] = [k.floats(4 * LARGEST_ELEMENTS), k.floats(4 * LARGEST_ELEMENTS)];
  return perSecond(12 * a.length, await quickest(meter, () => k.add(a, b)));
}

async function attentionRate(
  meter: Meter,
  k: Kernels,
  { model: { parts }, settings }: Run,
  tokens: number,
): Promise<number> {
  const { heads: H = 1, kvHeads: Hkv = 1, headDim = 1 } = lowestOf(parts, "attention") ?? {};
  const n = Math.min(tokens, settings.batch.seqLen);
  const group = H / Hkv;
  const kvHeads = Math.max(1, Math.min(Hkv, 8));
  const heads = kvHeads * group;
  const tensor = (count: number): Activation => {
    const floats = noise(k, n * count * headDim);
    return { shape: [n, count, headDim], data: k.activationDType === "bf16" ? asBf16(floats) : floats };
  };
  const [q, keys, values, dO] = [tensor(heads), tensor(kvHeads), tensor(kvHeads), tensor(heads)];
  const options = { spans: selfSpans(Int32Array.of(0, n)), sees: "past" } as const;
  const work = 3.5 * 4 * heads * headDim * n * (n + 1) / 2;
  const ms = await quickest(meter, () => {
    const mark = k.arena.mark();
    const { residuals } = attentionForward(k, q, keys, values, options);
    attentionBackward(k, residuals, dO, options);
    k.arena.release(mark);
  });
  return perSecond(work, ms);
}

/** One layer, in the work that a run's is counted in. */
async function sparseRate(clock: Clock, k: Kernels, sizes: SampleSizes): Promise<number> {
  const counting = countingKernels(k);
  await passLayer(counting, sampleLayer(counting, sizes));
  const { forward, backward } = counting.counts.work.model;
  using layer = noisyLayer(k, sizes);
  const ms = await quickest({ clock, rounds: ROUNDS, budgetMs: 0 }, () => passLayer(k, layer));
  return perSecond(forward + backward, ms);
}

/** Sizes of what lanes are measured with. */
export interface RateSizes {
  /** Tokens of a micro-batch. */
  readonly tokens: number;
  readonly sparse: Pick<RowSelection, "experts" | "activeExperts" | "topK">;
}

/** Neurons of the layer that is measured: enough for its shape, few enough to be made quickly. */
const NEURONS_PER_EXPERT = 8;

/**
 * The run's lanes as it will meet them, on the model's own kernels and with a micro-batch of its size: copies, a matrix
 * product of the model's first layer, and a layer of the sparse adapter on the host lane.
 *
 * @param clock Milliseconds; default `performance.now`
 */
export function measureRates(
  model: Model,
  { tokens, sparse }: RateSizes,
  clock: Clock = () => performance.now(),
): Promise<LaneRates> {
  const { kernels: k, config: { hiddenSize: hidden } } = model;
  const meter = { clock, rounds: ROUNDS, budgetMs: 0 };
  return releasing(k, async () => {
    const x = arenaTensor(k, [tokens, hidden]);
    using layer = noisyLayer(k, {
      config: { ...sparse, gate: "raw", scope: "token" },
      neurons: sparse.experts * NEURONS_PER_EXPERT,
      ...{ hidden, tokens, trainedRouter: false },
    });
    const bytes = x.data.byteLength;
    const downMs = await quickest(meter, () => copyDown(k, x));
    const upMs = await quickest(meter, () => copyUp(k, x)) - downMs;
    return {
      downBytesPerSecond: perSecond(bytes, downMs),
      upBytesPerSecond: perSecond(bytes, upMs),
      modelFlopsPerSecond: await modelRate(meter, model, x, downMs),
      ...await hostRates(meter, k, layer),
      hostBytesPerSecond: perSecond(2 * bytes, await quickest(meter, () => layer.h.data.slice())),
      // A copy of next to nothing: what is left is that the host learns of it.
      meetingSeconds: await quickest(meter, () => copyDown(k, x, 1)) / 1000,
    };
  });
}

async function copyDown({ link }: Kernels, { data }: Tensor, count = data.length): Promise<void> {
  const arrival = link.down(data.subarray(0, count));
  await arrival.ready();
  arrival.release();
}

/** And down again, by which its end is known. */
async function copyUp(k: Kernels, x: Tensor): Promise<void> {
  await k.link.landing(x.data).ready();
  k.link.arrive(x.data);
  await copyDown(k, x);
}

/** Of a product with a weight of the model's, which a copy down follows, by which its end is known. */
async function modelRate(
  meter: Meter,
  model: Model,
  x: Tensor,
  downMs: number,
): Promise<number> {
  const { kernels: k } = model;
  const [tokens, cols] = x.shape as [number, number];
  const linear = largestProduct(model, cols);
  const rows = linear ? linearSize(linear).outputs : 1;
  const into = linear ? arenaActivation(k, [tokens, rows]) : x;
  const ms = await quickest(meter, async () => {
    if (linear) linearForward(k, x, linear.weight, { into, transposed: linear.transposed });
    await copyDown(k, x);
  });
  return perSecond(productOperations(tokens, { rows, cols }), ms - downMs);
}

/**
 * Of routing and scoring, and of backward, by the host lane's own account. The mean of all rounds: so small a layer lies in the
 * processor's cache after the first, where a step finds another layer's rows.
 */
async function hostRates(
  meter: Meter,
  k: Kernels,
  layer: SampleLayer,
): Promise<Pick<LaneRates, "scoreFlopsPerSecond" | "pairFlopsPerSecond">> {
  const { config: { experts, activeExperts }, hidden, tokens } = layer.sizes;
  let pairs = 0;
  const { scores, backward } = await timeRounds(meter, {
    scores: () => k.hostTimes.routing + k.hostTimes.scoring,
    backward: () => k.hostTimes.backward,
  }, async () => pairs = await passLayer(k, layer));
  const scored = { rows: experts + activeExperts * NEURONS_PER_EXPERT, cols: hidden };
  return {
    scoreFlopsPerSecond: perSecond(productOperations(tokens, scored), mean(scores)),
    // Backward is four products a pair.
    pairFlopsPerSecond: perSecond(4 * 2 * Math.max(1, pairs) * hidden, mean(backward)),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
