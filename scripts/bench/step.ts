// SPDX-License-Identifier: Apache-2.0
/** Full training steps over a matrix of sizes: their time by part, their memory, and how both grow. */
import {
  type CaseDType,
  type Checkpoint,
  formatSizes,
  type ModelSizes,
  writeCheckpoint,
} from "./checkpoint.ts";
import { type CaseDefaults, type CaseMethod, sparseSizes, stepCase } from "./cases.ts";
import { loadNow } from "./machine.ts";
import { median, slope, summarize, type Summary } from "./statistics.ts";
import { StepProcess, type StepTime } from "./step_process.ts";

/** A cell of the matrix. */
export interface Cell {
  /** What the cell shows the growth with, or "method". */
  readonly series: "method" | "r" | "K" | "N" | "k_e" | "tokens" | "d" | "dtype";
  /** The size that the series varies; absent where nothing grows. */
  readonly x?: number;
  readonly name: string;
  readonly hidden: number;
  readonly dtype: CaseDType;
  readonly tokens: number;
  readonly method: CaseMethod;
}

/** A measured cell. */
export interface CellResult extends Cell {
  readonly model: string;
  readonly load: number;
  readonly stepMs: Summary;
  /** Median milliseconds by part. */
  readonly parts: Readonly<Record<string, number>>;
  readonly peakBytes: number;
  readonly trained: number;
  readonly activeNeurons: number | null;
}

/** Choices of {@linkcode benchSteps}. */
export interface StepOptions extends CaseDefaults {
  readonly rounds: number;
  readonly quick: boolean;
  readonly folder: string;
  readonly onCell: (result: CellResult) => void;
}

const BASE = { hidden: 1024, dtype: "bf16", tokens: 1024 } as const;
const none: CaseMethod = { method: "none", sizes: {} };
const lora: CaseMethod = { method: "lora", sizes: { rank: 8, alpha: 16 } };
const parallel: CaseMethod = { method: "parallel", sizes: { neurons: 4096 } };

/** Models of four layers and a small vocabulary, so that the largest adapters fit beside other work. */
function modelSizes(hidden: number): ModelSizes {
  const heads = hidden / 64;
  return { hidden, layers: 4, heads, kvHeads: heads / 2, inner: hidden * 11 / 4, vocabulary: 8192 };
}

/** r with the N that goes with it: about 4 sqrt(r). */
const ROWS = [[1024, 128], [4096, 256], [8192, 256], [16384, 512], [32768, 512], [65536, 1024]] as const;

function cells(quick: boolean): Cell[] {
  const sparse = sparseSizes(4096, 256);
  const cell = (
    series: Cell["series"],
    name: string,
    method: CaseMethod,
    more: Partial<Cell> = {},
  ): Cell => ({
    ...BASE,
    series,
    name,
    method,
    ...more,
  });
  const methods = (series: Cell["series"], more: Partial<Cell>): Cell[] => [
    cell(series, "none", none, more),
    cell(series, "sparse r=4096 N=256 K=64", sparse, more),
    cell(series, "lora rank 8", lora, more),
    cell(series, "parallel r=4096", parallel, more),
  ];
  if (quick) return methods("method", {});
  return [
    ...methods("method", {}),
    ...methods("dtype", { dtype: "f32" }),
    ...ROWS.map(([r, N]) => cell("r", `r=${r} N=${N}`, sparseSizes(r, N), { x: r })),
    ...[16, 64, 256].map((K) => cell("K", `K=${K}`, sparseSizes(4096, 128, K, 16), { x: K })),
    ...[16, 64, 256, 1024].map((N) => cell("N", `N=${N}`, sparseSizes(4096, N), { x: N })),
    ...[4, 8, 16].map((k) => cell("k_e", `k_e=${k}`, sparseSizes(4096, 256, 64, k), { x: k })),
    ...[256, 1024, 4096].flatMap((tokens) => [
      cell("tokens", `none, ${tokens} tokens`, none, { tokens }),
      cell("tokens", `sparse, ${tokens} tokens`, sparse, { tokens, x: tokens }),
    ]),
    ...[512, 1024, 2048].flatMap((hidden) => [
      cell("d", `none, d=${hidden}`, none, { hidden }),
      cell("d", `sparse, d=${hidden}`, sparse, { hidden, x: hidden }),
    ]),
  ];
}

/** How a series grows: time as a power of its size, by least squares of the logarithms. */
export interface Growth {
  readonly series: Cell["series"];
  readonly from: number;
  readonly to: number;
  /** Of the whole step. */
  readonly step: number;
  /** Of what the step takes above the same step without an adapter; null where that was not measured. */
  readonly adapter: number | null;
}

/** Growth of every series with sizes. */
export function growths(results: readonly CellResult[]): Growth[] {
  const frozen = (like: CellResult) =>
    results.find(({ method, hidden, tokens, dtype }) =>
      method.method === "none" && hidden === like.hidden && tokens === like.tokens && dtype === like.dtype
    )?.stepMs.median;
  return (["r", "K", "N", "k_e", "tokens", "d"] as const).flatMap((series) => {
    const points = results.flatMap((result) => {
      if (result.series !== series || result.x === undefined) return [];
      const without = frozen(result);
      const step = result.stepMs.median;
      return [{ x: result.x, step, adapter: without === undefined ? NaN : step - without }];
    });
    if (points.length < 2) return [];
    const xs = points.map(({ x }) => x);
    const adapter = slope(xs, points.map((point) => point.adapter));
    return [{
      series,
      from: Math.min(...xs),
      to: Math.max(...xs),
      step: slope(xs, points.map(({ step }) => step)),
      adapter: Number.isFinite(adapter) ? adapter : null,
    }];
  });
}

/** Measures the matrix, each cell in a process of its own. */
export async function benchSteps(options: StepOptions): Promise<CellResult[]> {
  const checkpoints = new Map<string, Checkpoint>();
  const results: CellResult[] = [];
  for (const [number, cell] of cells(options.quick).entries()) {
    const key = `${cell.hidden} ${cell.dtype}`;
    const checkpoint = checkpoints.get(key) ??
      await writeCheckpoint(options.folder, modelSizes(cell.hidden), cell.dtype, options.seed);
    checkpoints.set(key, checkpoint);
    const result = await measure(cell, number, checkpoint, options);
    options.onCell(result);
    results.push(result);
  }
  return results;
}

async function measure(
  cell: Cell,
  number: number,
  checkpoint: Checkpoint,
  options: StepOptions,
): Promise<CellResult> {
  const load = loadNow();
  const one = stepCase(`cell${number}`, checkpoint, cell.method, cell.tokens, options);
  await using process = await StepProcess.start("ours", one);
  for (let i = 0; i < 2; i++) await process.step(); // memory is taken in these
  const steps: StepTime[] = [];
  for (let round = 0; round < options.rounds; round++) steps.push(await process.step());
  const names = new Set(steps.flatMap(({ parts = {} }) => Object.keys(parts)));
  const parts = Object.fromEntries(
    [...names].map((name) => [name, median(steps.map((step) => step.parts?.[name] ?? 0))]),
  );
  return {
    ...cell,
    model: formatSizes(checkpoint.sizes),
    load,
    stepMs: summarize(steps.map(({ ms }) => ms)),
    parts,
    peakBytes: await process.peakBytes(),
    trained: process.ready.trained,
    activeNeurons: steps.at(-1)?.activeNeurons ?? null,
  };
}
