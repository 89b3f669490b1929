// SPDX-License-Identifier: Apache-2.0
/**
 * Measures one cell, or the frozen model alone, on the CUDA device: memory once taken is not given back, so that every
 * peak needs a process of its own.
 *
 *     cell_process.ts CASE.json
 *
 * Prints one JSON line: {@linkcode CellAnswer}, or without a cell {@linkcode FrozenAnswer}.
 */
import type { CudaFacts } from "../../../lib/native/device_memory.ts";
import { NativeError } from "../../../lib/core/errors.ts";
import type { Model } from "../../../lib/models/model.ts";
import { type CudaKernels, cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { measureRates } from "../../../lib/predict/machine/measure.ts";
import { perSecond, quickest } from "../../../lib/predict/machine/meter.ts";
import type { LaneRates } from "../../../lib/predict/machine/rates.ts";
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
export interface CellCase extends Group {
  readonly preset: GpuPreset;
  readonly cell: Cell | null;
  readonly threads: number;
  readonly seed: number;
}

/** Of the frozen model alone. */
export interface FrozenAnswer {
  readonly facts: CudaFacts;
  /** The most that the frozen model takes with this group's micro-batches. */
  readonly frozen: DevicePeak;
  readonly rates: LaneRates;
  /** Of one large square product in bf16: the GPU's ceiling as our own products meet it. */
  readonly productFlops: number;
}

/** A cell's result, or why there is none. */
export type CellAnswer = { readonly result: CellResult } | { readonly problem: string };

async function benchOf(
  { preset, tokens, seed }: CellCase,
  model: Model,
  { device }: CudaKernels,
): Promise<Bench> {
  const { experts = 1 } = preset.rows.find(({ neurons }) => neurons === preset.lead.neurons) ?? {};
  const sizes = { experts, activeExperts: preset.activeExperts, topK: preset.topK };
  return { model, device, preset, rates: await measureRates(model, { tokens, sparse: sizes }), seed };
}

async function answerFrozen(bench: Bench, group: Group): Promise<FrozenAnswer> {
  const { device, rates } = bench;
  const frozen = await frozenPeak(bench, group);
  return { facts: device.facts(), frozen, rates, productFlops: await squareProduct(bench) };
}

/** FLOP/s of an (n,n) product of random numbers, the best of a few: zeros draw less power, and so run faster. */
async function squareProduct(
  { model: { kernels: k }, device, preset: { ceilingEdge: n } }: Bench,
): Promise<number> {
  const count = n * n;
  const blocks = [2, 4, 4].map((bytes) => device.reserve(bytes * count, "activations"));
  const [weights, inputs, outputs] = blocks as [ArrayBuffer, ArrayBuffer, ArrayBuffer];
  const data = new Uint16Array(weights);
  layNoise(k, data, bf16Noise(k, 1, 0.02));
  const w = { name: "square", dtype: "bf16", rows: n, cols: n, data, mapped: null, grad: null } as const;
  const [x, y] = [new Float32Array(inputs), new Float32Array(outputs)];
  k.randomNormal(x, 1, 0, 1);
  const meter = { clock: () => performance.now(), rounds: 5, budgetMs: 0 };
  const ms = await quickest(meter, () => {
    k.linearForward(y, x, w, null, n, false);
    device.synchronize();
  });
  blocks.forEach((block) => device.release(block));
  return perSecond(2 * n ** 3, ms);
}

async function answerCell(bench: Bench, cell: Cell): Promise<CellAnswer> {
  try {
    return { result: await measureCell(bench, cell) };
  } catch (error) {
    if (error instanceof CellProblem || error instanceof NativeError) return { problem: error.message };
    throw error;
  }
}

const one: CellCase = JSON.parse(await Deno.readTextFile(Deno.args[0] ?? ""));
using kernels = cudaKernels({ compute: "bf16", host: { threads: one.threads } });
using model = randomModel(one.preset.sizes, kernels, one.seed);
const bench = await benchOf(one, model, kernels);
console.log(JSON.stringify(await (one.cell ? answerCell(bench, one.cell) : answerFrozen(bench, one))));
