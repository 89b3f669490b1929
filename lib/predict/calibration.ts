// SPDX-License-Identifier: Apache-2.0
/** What this machine does in a second, measured in a fraction of one: for estimates, not for records. */
import { lowestOf } from "../models/parts.ts";
import { attentionBackward, attentionForward, causalSpans } from "../ops/attention.ts";
import type { RowSelection } from "../adapters/adapter.ts";
import { countingKernels } from "../ops/counting/counting_kernels.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { nativeKernels } from "../ops/native/native_kernels.ts";
import { createRowGradients } from "../ops/row_gradients.ts";
import { sparseBackward, type SparseConfig, sparseForward, type SparseParams } from "../ops/sparse.ts";
import type { Activation, Floats, Tensor, Weight } from "../tensor/tensor.ts";
import type { Run } from "../train/plan.ts";
import type { StepWork } from "./work.ts";

/** Operations and bytes a second. */
export interface MachineRates {
  readonly linearForward: number;
  readonly linearBackward: number;
  readonly attention: number;
  /** Of the sparse adapter; null when the run has none. */
  readonly sparse: number | null;
  /** Bytes of a sum in memory. */
  readonly bandwidth: number;
  /** How long the measuring took. */
  readonly calibrationMs: number;
}

/** Memory of any one measurement. */
const LARGEST_ELEMENTS = 1 << 21;
const TOKENS = 512;
/** Noise repeats itself after as many elements: to make it must not take long. */
const NOISE_PERIOD = 1 << 16;
const BUDGET_MS = 30;

/**
 * Measures with shapes of the run's kind, cut to a few MiB, on kernels of its own. Takes about 0.4 s, whatever the
 * model's size.
 */
export async function calibrate(
  run: Run,
  options: { readonly threads?: number | undefined; readonly clock?: () => number } = {},
): Promise<MachineRates> {
  const clock = options.clock ?? (() => performance.now());
  const { parts, kernels: { compute } } = run.model;
  const start = clock();
  using k = nativeKernels({ compute: compute === "f64" ? "f32" : compute, threads: options.threads });
  const { rows: most = 1, cols: width = 1 } = lowestOf(parts, "ffn")?.up.weight ?? {};
  const cols = Math.min(width, 2048);
  const rows = Math.min(most, Math.floor(LARGEST_ELEMENTS / cols));
  const tokens = Math.max(1, Math.min(TOKENS, run.settings.batch.micro * run.settings.batch.seqLen));
  const weight = randomWeight(k, run, rows, cols);
  const [x, y] = [noise(k, tokens * cols), k.modelActivations(tokens * rows, "activations")];
  const operations = 2 * tokens * rows * cols;
  const linearForward = rate(operations, clock, () => k.linearForward(y, x, weight, null, tokens, false));
  const linearBackward = rate(operations, clock, () => k.linearBackwardData(x, y, weight, tokens, false));
  const [a, b] = [k.floats(4 * LARGEST_ELEMENTS), k.floats(4 * LARGEST_ELEMENTS)];
  const bandwidth = rate(12 * a.length, clock, () => k.add(a, b));
  const attention = attentionRate(k, run, tokens, clock);
  const sparse = run.adapterKind.selection
    ? await sparseRate(k, run, run.adapterKind.selection, clock)
    : null;
  return { linearForward, linearBackward, attention, sparse, bandwidth, calibrationMs: clock() - start };
}

/** Work a second: the best of several rounds after one that warms up. */
function rate(work: number, clock: () => number, round: () => void): number {
  round();
  const begin = clock();
  let best = Infinity;
  do {
    const start = clock();
    round();
    best = Math.min(best, clock() - start);
  } while (clock() - begin < BUDGET_MS);
  return 1000 * work / Math.max(1e-6, best);
}

function noise(k: Kernels, count: number): Floats {
  const values = k.floats(count);
  const piece = Math.min(count, NOISE_PERIOD);
  k.randomNormal(values.subarray(0, piece), 1, 0, 0.1);
  for (let done = piece; done < count; done *= 2) values.copyWithin(done, 0, Math.min(done, count - done));
  return values;
}

/** A weight in memory, of the checkpoint's type as far as that is f32 or not. */
function randomWeight(k: Kernels, { model: { parts } }: Run, rows: number, cols: number): Weight {
  const floats = noise(k, rows * cols);
  const stored = lowestOf(parts, "ffn")?.gate.weight.dtype === "f32" ? "f32" : "bf16";
  const data = stored === "f32" ? floats : asBf16(floats);
  return { name: "calibration", dtype: stored, rows, cols, data, mapped: null, grad: null };
}

/** Noise as bf16: the high halves of its bits. */
function asBf16(floats: Floats): Uint16Array {
  return Uint16Array.from(
    new Uint32Array(floats.buffer, floats.byteOffset, floats.length),
    (value) => value >>> 16,
  );
}

function attentionRate(
  k: Kernels,
  { model: { parts }, settings }: Run,
  tokens: number,
  clock: () => number,
): number {
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
  const options = { spans: causalSpans(Int32Array.of(0, n)) };
  const work = 3.5 * 4 * heads * headDim * n * (n + 1) / 2;
  return rate(work, clock, () => {
    const mark = k.arena.mark();
    const { residuals } = attentionForward(k, q, keys, values, options);
    attentionBackward(k, residuals, dO, options);
    k.arena.release(mark);
  });
}

/** One layer of the run's sparse adapter over 256 tokens, with as many experts as fit the measurement. */
async function sparseRate(
  k: Kernels,
  run: Run,
  settings: RowSelection,
  clock: () => number,
): Promise<number> {
  const { hiddenSize: hidden } = run.model.config;
  const room = Math.floor(4 * LARGEST_ELEMENTS / (2 * hidden));
  const expertRows = Math.min(
    settings.neurons / settings.experts,
    Math.max(1, Math.floor(room / settings.activeExperts)),
  );
  const fitting = Math.floor(room / expertRows);
  const experts = Math.max(
    Math.min(settings.experts, settings.activeExperts),
    Math.min(settings.experts, fitting),
  );
  const neurons = experts * expertRows;
  const tokens = 256;
  const layer = sparseLayer(k, { neurons, experts, hidden, tokens });
  const rows = noise(k, neurons * hidden);
  k.rowMatrixWrite(layer.params.keys, rows, 0);
  k.rowMatrixWrite(layer.params.values, rows, 0);
  layer.params.gateWeight.set(noise(k, experts * hidden));
  layer.h.data.set(noise(k, tokens * hidden));
  // Counted as the work of a run is.
  const counting = countingKernels(k);
  const counted = sparseLayer(counting, { neurons, experts, hidden, tokens });
  await passSparse(counting, counted, { ...settings, experts });
  const { forward, backward } = counting.counts.work.model;
  let best = Infinity;
  for (let round = 0; round < 3; round++) {
    const start = clock();
    await passSparse(k, layer, { ...settings, experts });
    if (round > 0) best = Math.min(best, clock() - start);
  }
  return 1000 * (forward + backward) / Math.max(1e-6, best);
}

/** A layer of the sparse adapter, and what goes through it. */
interface SampleLayer {
  readonly params: SparseParams;
  readonly h: Tensor;
  readonly dh: Tensor;
}

/** One of zeros. */
function sparseLayer(
  k: Kernels,
  { neurons, experts, hidden, tokens }: Readonly<Record<"neurons" | "experts" | "hidden" | "tokens", number>>,
): SampleLayer {
  const activation = (): Tensor => ({ shape: [tokens, hidden], data: k.floats(tokens * hidden) });
  return {
    params: {
      gateWeight: k.floats(experts * hidden),
      gateGrad: k.floats(experts * hidden),
      keys: k.rowMatrix(neurons, hidden),
      values: k.rowMatrix(neurons, hidden),
      gradients: createRowGradients(k, neurons, hidden, { keys: true, slots: neurons }),
    },
    h: activation(),
    dh: activation(),
  };
}

/** Forward and backward. */
async function passSparse(k: Kernels, { params, h, dh }: SampleLayer, config: SparseConfig): Promise<void> {
  const mark = k.arena.mark();
  const { residuals } = await sparseForward(k, params, h, config);
  await sparseBackward(k, params, residuals, h, h, dh);
  k.arena.release(mark);
}

/** Milliseconds of a step by part, and together. */
export interface TimeEstimate {
  readonly products: number;
  readonly attention: number;
  readonly adapter: number;
  readonly streams: number;
  readonly update: number;
  readonly stepMs: number;
  readonly tokensPerSecond: number;
}

/** How long a step should take at measured rates: the parts one after the other, as the CPU does them. @param tokens Of the step */
export function estimateStep(work: StepWork, tokens: number, rates: MachineRates): TimeEstimate {
  const products = 1000 *
    (work.linearForward / rates.linearForward + work.linearBackward / rates.linearBackward);
  const attention = 1000 * work.attention / rates.attention;
  const adapter = 1000 * work.adapter / (rates.sparse ?? rates.linearForward);
  const streams = 1000 * work.streamBytes / rates.bandwidth;
  const update = 1000 * work.updateBytes / rates.bandwidth;
  const stepMs = products + attention + adapter + streams + update;
  return {
    products,
    attention,
    adapter,
    streams,
    update,
    stepMs,
    tokensPerSecond: 1000 * tokens / stepMs,
  };
}
