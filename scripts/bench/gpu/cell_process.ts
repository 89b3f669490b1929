// SPDX-License-Identifier: Apache-2.0
/**
 * Measures cells of one group on the CUDA device, in a process of its own.
 *
 *     cell_process.ts GROUP.json
 *
 * Prints a JSON line when ready ({@linkcode GroupReady}); then for every cell on standard input, one a line, a line with its
 * {@linkcode CellAnswer}.
 */
import type { DeviceFacts } from "../../../lib/native/device_memory.ts";
import { NativeError } from "../../../lib/core/errors.ts";
import type { Model } from "../../../lib/models/model.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import type { LaneRates } from "../../../lib/train/cost_model.ts";
import { measureRates } from "../../../lib/train/rates.ts";
import { inputLines } from "../line_process.ts";
import type { Cell, GpuPreset, Group } from "./cells.ts";
import {
  type Bench,
  CellProblem,
  type CellResult,
  type DevicePeak,
  frozenPeak,
  measureCell,
} from "./measure.ts";
import { bf16Noise, layNoise, randomModel } from "./random_model.ts";

/** What a process is started with. */
export interface GroupCase extends Group {
  readonly preset: GpuPreset;
  readonly threads: number;
  readonly seed: number;
}

/** What it says when the model is there. */
export interface GroupReady {
  readonly facts: DeviceFacts;
  /** The most that the frozen model takes with this group's micro-batches. */
  readonly frozen: DevicePeak;
  readonly rates: LaneRates;
  /** Of one large square product in bf16: the GPU's ceiling as our own products meet it. */
  readonly productFlops: number;
}

/** A cell's result, or why there is none. */
export type CellAnswer = { readonly result: CellResult } | { readonly problem: string };

async function prepare(
  { preset, tokens, activations, seed }: GroupCase,
  model: Model,
): Promise<[Bench, GroupReady]> {
  const device = model.kernels.device;
  if (device === null) throw new Error("The kernels have no device");
  const { experts = 1 } = preset.rows.find(({ neurons }) => neurons === preset.lead.neurons) ?? {};
  const sizes = { experts, activeExperts: preset.activeExperts, topK: preset.topK };
  const rates = await measureRates(model, { tokens, sparse: sizes });
  const bench: Bench = { model, device, preset, rates, seed };
  const frozen = await frozenPeak(bench, { tokens, activations });
  return [bench, { facts: device.facts(), frozen, rates, productFlops: squareProduct(bench) }];
}

/** FLOP/s of an (n,n) product of random numbers, the best of a few: zeros draw less power, and so run faster. */
function squareProduct({ model: { kernels: k }, device, preset: { ceilingEdge: n } }: Bench): number {
  const count = n * n;
  const blocks = [2, 4, 4].map((bytes) => device.reserve(bytes * count, "activations"));
  const [weights, inputs, outputs] = blocks as [ArrayBuffer, ArrayBuffer, ArrayBuffer];
  const data = new Uint16Array(weights);
  layNoise(k, data, bf16Noise(k, 1, 0.02));
  const w = { name: "square", dtype: "bf16", rows: n, cols: n, data, mapped: null, grad: null } as const;
  const [x, y] = [new Float32Array(inputs), new Float32Array(outputs)];
  k.randomNormal(x, 1, 0, 1);
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    k.linearForward(y, x, w, null, n, false);
    device.synchronize();
    best = Math.min(best, performance.now() - start);
  }
  blocks.forEach((block) => device.release(block));
  return 2 * n ** 3 / (best / 1000);
}

/** Memory of an adapter is given back by collecting garbage: hundreds of GB must not wait for it. */
function collectGarbage(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

async function answer(bench: Bench, cell: Cell): Promise<CellAnswer> {
  try {
    return { result: await measureCell(bench, cell) };
  } catch (error) {
    if (error instanceof CellProblem || error instanceof NativeError) return { problem: error.message };
    throw error;
  } finally {
    collectGarbage();
  }
}

const group: GroupCase = JSON.parse(await Deno.readTextFile(Deno.args[0] ?? ""));
using kernels = cudaKernels({ compute: "bf16", host: { threads: group.threads } });
using model = randomModel(group.preset.sizes, kernels, group.seed);
const [bench, ready] = await prepare(group, model);
console.log(JSON.stringify(ready));
for await (const line of inputLines()) console.log(JSON.stringify(await answer(bench, JSON.parse(line))));
