// SPDX-License-Identifier: Apache-2.0
/** What `deno task bench gpu` measures: presets, and the cells of one in the order in which they are worth their time. */
import type { ModelSizes } from "../checkpoint.ts";

/** What backward remembers. */
export type Activations = "recompute" | "store";

/** r and the N that goes with it. */
export interface Rows {
  readonly neurons: number;
  readonly experts: number;
}

/** Everything that a run measures, as plain data. */
export interface GpuPreset {
  readonly sizes: ModelSizes;
  /** Tokens of a micro-batch, which is one sequence. */
  readonly tokens: readonly number[];
  readonly rows: readonly Rows[];
  readonly activeExperts: number;
  readonly topK: number;
  /** Micro-batches of a step: one, and many. */
  readonly accumulations: readonly [number, number];
  /** Timed steps of one micro-batch, of many, and those before them that do not count. */
  readonly rounds: number;
  readonly accumulatedRounds: number;
  readonly warmups: number;
  /** The cells that a short run measures first. */
  readonly lead: { readonly tokens: number; readonly neurons: number };
  /** How cells with a row cache place their rows: as the cost model picks, or on the device in any case, to prove that. */
  readonly cached: "auto" | "device";
  /** Parts of a micro-batch: by prediction, or 1 where the times it goes by mean nothing. */
  readonly halves: "auto" | 1;
  /** Edge of the square product by which the GPU's ceiling is measured. */
  readonly ceilingEdge: number;
}

/** The 7B llama shape of the bar. */
export const SEVEN_B: GpuPreset = {
  sizes: { hidden: 4096, layers: 32, heads: 32, kvHeads: 32, inner: 11008, vocabulary: 32000 },
  tokens: [512, 1024, 2048],
  rows: [
    { neurons: 1024, experts: 128 },
    { neurons: 4096, experts: 256 },
    { neurons: 8192, experts: 256 },
    { neurons: 32768, experts: 512 },
  ],
  activeExperts: 8,
  topK: 64,
  accumulations: [1, 8],
  rounds: 20,
  accumulatedRounds: 5,
  warmups: 3,
  lead: { tokens: 1024, neurons: 4096 },
  cached: "auto",
  halves: "auto",
  ceilingEdge: 8192,
};

/** The same cells in miniature: proves the benchmark itself, emulated where there is no GPU. */
export const MINIATURE: GpuPreset = {
  sizes: { hidden: 32, layers: 2, heads: 2, kvHeads: 1, inner: 64, vocabulary: 64 },
  tokens: [16],
  rows: [{ neurons: 32, experts: 4 }, { neurons: 64, experts: 8 }],
  activeExperts: 2,
  topK: 8,
  accumulations: [1, 2],
  rounds: 2,
  accumulatedRounds: 2,
  warmups: 1,
  lead: { tokens: 16, neurons: 64 },
  cached: "device",
  halves: 1,
  ceilingEdge: 32,
};

/** Cells that compare with the same frozen model: one size of micro-batch, one way to remember. */
export interface Group {
  readonly tokens: number;
  readonly activations: Activations;
}

/** One way to train, measured in turn with the frozen model alone. */
export interface Cell extends Group {
  readonly name: string;
  readonly method: "sparse" | "lora";
  /** Null for LoRA. */
  readonly rows: Rows | null;
  /** `cache`: room for all rows on the device, and a placement by {@linkcode GpuPreset.cached}. Null for LoRA. */
  readonly placement: "host" | "cache" | null;
  readonly accumulation: number;
  /** Measured before those with a higher number. */
  readonly stage: 0 | 1 | 2;
}

/** All cells of a preset: stage by stage, those of a group together. */
export function cellsOf(preset: GpuPreset): Cell[] {
  const cells = preset.tokens.flatMap((tokens) =>
    (["recompute", "store"] as const).flatMap((activations) => groupCells(preset, { tokens, activations }))
  );
  return cells.toSorted((a, b) => a.stage - b.stage);
}

/** LoRA is measured as PyTorch's is, with everything stored. */
function groupCells(preset: GpuPreset, group: Group): Cell[] {
  const [once, many] = preset.accumulations;
  const cell = (rows: Rows, placement: "host" | "cache", accumulation: number): Cell => ({
    ...group,
    name: `${title(group)}, a=${accumulation}, ${placement} r=${rows.neurons}`,
    method: "sparse",
    rows,
    placement,
    accumulation,
    stage: stageOf(preset, group, rows, accumulation),
  });
  const sparse = preset.rows.flatMap((rows) => [
    cell(rows, "host", once),
    cell(rows, "host", many),
    cell(rows, "cache", many),
  ]);
  if (group.activations === "recompute") return sparse;
  const name = `${title(group)}, a=${once}, LoRA`;
  const stage = group.tokens === preset.lead.tokens ? 0 : 1;
  return [
    { ...group, name, method: "lora", rows: null, placement: null, accumulation: once, stage },
    ...sparse,
  ];
}

/** First what decides every bar at one size, then at the other sizes, then the rest. */
function stageOf(preset: GpuPreset, group: Group, { neurons }: Rows, accumulation: number): Cell["stage"] {
  const ends = [preset.rows[0], preset.rows.at(-1)].map((rows) => rows?.neurons);
  const decides = neurons === preset.lead.neurons ||
    (ends.includes(neurons) && accumulation === preset.accumulations[0]);
  if (group.activations === "store" || !decides) return 2;
  return group.tokens === preset.lead.tokens ? 0 : 1;
}

/** `1024 tokens, store`. */
export function title({ tokens, activations }: Group): string {
  return `${tokens} tokens, ${activations}`;
}

/** A rival in PyTorch: the frozen model, PEFT's LoRA, and a dense adapter with its optimizer here or there. */
export interface RivalCell {
  readonly name: string;
  readonly tokens: number;
  readonly method: "none" | "lora" | "dense" | "dense-host-adam";
  /** Null without a dense adapter. */
  readonly neurons: number | null;
  readonly stage: 0 | 1 | 2;
}

/** All rivals of a preset, stage by stage. */
export function rivalsOf(preset: GpuPreset): RivalCell[] {
  const rivals = preset.tokens.flatMap((tokens): RivalCell[] => {
    const early = tokens === preset.lead.tokens ? 0 : 1;
    const named = (method: "none" | "lora", what: string): RivalCell => ({
      name: `${tokens} tokens, ${what}`,
      tokens,
      method,
      neurons: null,
      stage: early,
    });
    return [
      named("none", "frozen"),
      named("lora", "LoRA"),
      ...preset.rows.flatMap(({ neurons }) =>
        ([["dense", "AdamW on the GPU"], ["dense-host-adam", "Adam on the CPU"]] as const)
          .map(([method, where]): RivalCell => ({
            name: `${tokens} tokens, dense r=${neurons}, ${where}`,
            tokens,
            method,
            neurons,
            stage: neurons === preset.lead.neurons ? early : 2,
          }))
      ),
    ];
  });
  return rivals.toSorted((a, b) => a.stage - b.stage);
}
