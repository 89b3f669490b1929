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
import { median, summarize, type Summary } from "./statistics.ts";
import { StepProcess, type StepTime } from "./step_process.ts";

/** A cell of the matrix. */
export interface Cell {
  /** What the cell shows the growth with, or "method". */
  readonly series: "method" | "r" | "K" | "N" | "tokens" | "d" | "dtype";
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

function cells(quick: boolean): Cell[] {
  const sparse = sparseSizes(4096, 256);
  const methods: Cell[] = [
    { ...BASE, series: "method", name: "none", method: none },
    { ...BASE, series: "method", name: "sparse r=4096 N=256 K=64", method: sparse },
    { ...BASE, series: "method", name: "lora rank 8", method: lora },
    { ...BASE, series: "method", name: "parallel r=4096", method: parallel },
  ];
  if (quick) return methods;
  const dtypes = [none, sparse].map((method): Cell => (
    { ...BASE, series: "dtype", name: `f32 ${method.method}`, dtype: "f32", method }
  ));
  const rows = [[1024, 128], [4096, 256], [16384, 512], [65536, 1024]] as const;
  return [
    ...methods,
    ...dtypes,
    ...rows.map(([r, N]): Cell => ({
      ...BASE,
      series: "r",
      name: `r=${r} N=${N}`,
      method: sparseSizes(r, N),
    })),
    ...[16, 256].map((K): Cell => ({
      ...BASE,
      series: "K",
      name: `K=${K}`,
      method: sparseSizes(4096, 128, K, 16),
    })),
    ...[16, 64].map((N): Cell => ({ ...BASE, series: "N", name: `N=${N}`, method: sparseSizes(4096, N) })),
    ...[256, 4096].flatMap((tokens) => [
      { ...BASE, series: "tokens", name: `none, ${tokens} tokens`, tokens, method: none } as const,
      { ...BASE, series: "tokens", name: `sparse, ${tokens} tokens`, tokens, method: sparse } as const,
    ]),
    ...[512, 2048].flatMap((hidden) => [
      { ...BASE, series: "d", name: `none, d=${hidden}`, hidden, method: none } as const,
      { ...BASE, series: "d", name: `sparse, d=${hidden}`, hidden, method: sparse } as const,
    ]),
  ];
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
