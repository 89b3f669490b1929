// SPDX-License-Identifier: Apache-2.0
/** Cells measured here: steps of an adapter and of the frozen model alone in turn, with what they take of the GPU. */
import type { StepData } from "../../../lib/data/batches.ts";
import { lossAndGradients } from "../../../lib/models/engine/pass.ts";
import type { Model } from "../../../lib/models/model.ts";
import { lora, sparse } from "../../../lib/methods/methods.ts";
import { availableHostBytes } from "../../../lib/native/host_memory.ts";
import type { DeviceMemory } from "../../../lib/native/device_memory.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { constant } from "../../../lib/optim/schedule.ts";
import { type HostTimes, hostTotal } from "../../../lib/ops/host_times.ts";
import { predictSteps, type StepPrediction } from "../../../lib/predict/cost_model.ts";
import type { LaneRates } from "../../../lib/predict/machine/rates.ts";
import { predictDevice } from "../../../lib/predict/device_memory.ts";
import { type MemoryPrediction, predictMemory } from "../../../lib/predict/memory.ts";
import type { LaneAccount, LaneName } from "../../../lib/train/lane_account.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { init, releaseState } from "../../../lib/train/state.ts";
import { type StepMetrics, trainStep } from "../../../lib/train/step.ts";
import { formatBytes } from "../../../lib/report/format.ts";
import { median, summarize, type Summary } from "../statistics.ts";
import type { Cell, GpuPreset, Rows } from "./cells.ts";
import { randomStep } from "./random_step.ts";

/** Bytes by class on the device at most. */
export interface DevicePeak {
  readonly total: number;
  readonly classes: Readonly<Record<string, number>>;
}

/** A measured cell. */
export interface CellResult {
  readonly cell: Cell;
  readonly trained: number;
  readonly lossFirst: number;
  readonly stepMs: Summary;
  /** The same tokens through the frozen model alone: forward, and backward to the embedding's output. */
  readonly frozenMs: Summary;
  /** Speed of the step as a share of the frozen model's: median over rounds in which both ran. */
  readonly speedShare: number;
  /**
   * Milliseconds that each lane worked in a step: by the device's clock where the account has it, else the least there can
   * be, the frozen model's own step, and bytes at measured rates.
   */
  readonly busyMs: Readonly<Record<LaneName, number>>;
  readonly hostMs: HostTimes;
  readonly downBytes: number;
  readonly upBytes: number;
  readonly peak: DevicePeak;
  readonly predictedDeviceBytes: number;
  /** How rows were computed with; null for LoRA. */
  readonly placement: Pick<Run["rows"], "placement" | "halves" | "cachedRows"> | null;
  /** Of the cost model for that way, here and on a card of the 4090 class with the same host; null for LoRA. */
  readonly predicted: StepPrediction | null;
  readonly on4090: StepPrediction | null;
}

/** What measuring goes by. */
export interface Bench {
  readonly model: Model;
  readonly device: DeviceMemory;
  readonly preset: GpuPreset;
  readonly rates: LaneRates;
  readonly seed: number;
}

/** A cell that cannot be measured here, with the one sentence why. */
export class CellProblem extends Error {
  override readonly name = "CellProblem";
}

/** A 4090-class card beside the same host, as in the cost model's notes: bf16 products, and PCIe 4 each way. */
const CARD_4090 = { modelFlopsPerSecond: 130e12, downBytesPerSecond: 25e9, upBytesPerSecond: 25e9 };

/** What the frozen model takes of the device with these micro-batches: in a process without any adapter. */
export async function frozenPeak(
  bench: Bench,
  group: Pick<Cell, "tokens" | "activations">,
): Promise<DevicePeak> {
  const step = frozenStep(bench, { ...group, accumulation: 1 });
  bench.device.resetPeaks();
  for (let i = 0; i < bench.preset.warmups; i++) await step();
  return devicePeak(bench.device);
}

/**
 * Measures one cell.
 *
 * @throws {CellProblem} When the host or the device has no room for it
 */
export async function measureCell(bench: Bench, cell: Cell): Promise<CellResult> {
  const { preset, device } = bench;
  const run = planCell(bench, cell);
  const memory = await predictMemory(run);
  checkHostRoom(memory);
  device.resetPeaks();
  let state = init(run);
  try {
    const data = randomStep(cell, bench.model.config.vocabSize, bench.seed);
    const frozen = frozenStep(bench, cell);
    const step = async (): Promise<StepMetrics> => {
      const [next, metrics] = await trainStep(run, state, data);
      state = next;
      device.synchronize();
      return metrics;
    };
    const lossFirst = (await step()).loss;
    for (let i = 1; i < preset.warmups; i++) await step();
    // Before the frozen model's own steps: activations never give memory back, and halves have two places for them.
    const peak = devicePeak(device);
    await frozen();
    const rounds = cell.accumulation > 1 ? preset.accumulatedRounds : preset.rounds;
    const turns = await takeTurns(rounds, frozen, step);
    const predicted = {
      trained: memory.trainedParameters,
      predictedDeviceBytes: (await predictDevice(run, run.rows.placement)).deviceTotal,
    };
    return { cell, lossFirst, peak, ...predicted, ...await account(bench, run, turns) };
  } finally {
    if (!state.lease.spent) releaseState(run, state);
  }
}

/** Times of each round. */
interface Turn {
  readonly frozenMs: number;
  readonly stepMs: number;
  readonly metrics: StepMetrics;
}

async function takeTurns(
  rounds: number,
  frozen: () => Promise<void>,
  step: () => Promise<StepMetrics>,
): Promise<Turn[]> {
  const turns: Turn[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await frozen();
    const between = performance.now();
    const metrics = await step();
    turns.push({ frozenMs: between - start, stepMs: performance.now() - between, metrics });
  }
  return turns;
}

/** A step's account; copies are in it where the device has a clock of its own, which then also times the model's lane. */
type DeviceAccount = LaneAccount & { readonly downMs?: number; readonly upMs?: number };

async function account(
  bench: Bench,
  run: Run,
  turns: readonly Turn[],
): Promise<Omit<CellResult, "cell" | "lossFirst" | "peak" | "trained" | "predictedDeviceBytes">> {
  const { rates } = bench;
  const lanes: DeviceAccount[] = turns.map(({ metrics }) => metrics.lanes);
  const middle = (of: (lane: DeviceAccount) => number): number => median(lanes.map(of));
  const timed = lanes.every(({ downMs }) => downMs !== undefined);
  const frozenMs = summarize(turns.map((turn) => turn.frozenMs));
  const [downBytes, upBytes] = [middle((lane) => lane.downBytes), middle((lane) => lane.upBytes)];
  const kinds = Object.keys(lanes[0]?.hostMs ?? {}) as (keyof HostTimes)[];
  const isSparse = run.adapterKind.selection !== undefined;
  return {
    stepMs: summarize(turns.map((turn) => turn.stepMs)),
    frozenMs,
    speedShare: median(turns.map((turn) => turn.frozenMs / turn.stepMs)),
    busyMs: {
      model: timed ? middle((lane) => lane.modelMs) : frozenMs.median,
      host: middle(({ hostMs }) => hostTotal(hostMs)),
      down: timed ? middle(({ downMs = NaN }) => downMs) : 1000 * downBytes / rates.downBytesPerSecond,
      up: timed ? middle(({ upMs = NaN }) => upMs) : 1000 * upBytes / rates.upBytesPerSecond,
    },
    hostMs: Object.fromEntries(
      kinds.map((kind) => [kind, middle(({ hostMs }) => hostMs[kind])]),
    ) as unknown as HostTimes,
    downBytes,
    upBytes,
    placement: isSparse
      ? { placement: run.rows.placement, halves: run.rows.halves, cachedRows: run.rows.cachedRows }
      : null,
    predicted: isSparse ? await predictionOf(run, rates) : null,
    on4090: isSparse ? await predictionOf(run, { ...rates, ...CARD_4090 }) : null,
  };
}

/** The prediction for what the run does, at some rates. */
async function predictionOf(run: Run, rates: LaneRates): Promise<StepPrediction | null> {
  const { placement, halves } = run.rows;
  const ways = await predictSteps(run, rates);
  return ways.find((one) => one.placement === placement && one.halves === halves) ?? null;
}

/** Without clipping, so that rows may take their step beside the model's work; PyTorch does without it too. */
function planOptions({ seed }: Bench, cell: Cell): RunOptions {
  const { tokens, activations, accumulation } = cell;
  return {
    batch: { size: accumulation, micro: 1, seqLen: tokens },
    optimizer: adamw({ schedule: constant(), clip: null }),
    steps: 1_000_000,
    activations,
    seed,
  };
}

function planCell(bench: Bench, cell: Cell): Run {
  const { model, preset } = bench;
  const { rows } = cell;
  const options = planOptions(bench, cell);
  if (rows === null) return plan(model, { ...options, method: lora({ rank: 8, alpha: 16 }) });
  const { activeExperts, topK, halves } = preset;
  const method = sparse({ ...rows, activeExperts, topK });
  if (cell.placement === "host") return plan(model, { ...options, method, halves, placement: "host" });
  checkDeviceRoom(bench, rows);
  return plan(model, { ...options, method, halves, placement: preset.cached, cachedRows: rows.neurons });
}

/** Keys and values of all rows in bf16 with their gradients in f32, of all layers. */
function checkDeviceRoom({ device, model: { config } }: Bench, { neurons }: Rows): void {
  const wanted = config.numHiddenLayers * neurons * 2 * config.hiddenSize * (2 + 4);
  const { freeBytes } = device.facts();
  if (wanted < 0.9 * freeBytes) return;
  throw new CellProblem(
    `a cache of ${neurons} rows takes ${formatBytes(wanted)} of the GPU, ${formatBytes(freeBytes)} are free`,
  );
}

function checkHostRoom({ residentBytes }: MemoryPrediction): void {
  const { parameters = 0, optimizer = 0, gradients = 0 } = residentBytes;
  const [wanted, free] = [parameters + optimizer + gradients, availableHostBytes()];
  if (wanted < 0.95 * free) return;
  throw new CellProblem(`it takes ${formatBytes(wanted)} of host memory, ${formatBytes(free)} are free`);
}

/** A step of the frozen model alone: gradients of every layer's input are made, none is kept. */
function frozenStep(
  { model, device, seed }: Bench,
  cell: Pick<Cell, "tokens" | "activations" | "accumulation">,
): () => Promise<void> {
  const data: StepData = randomStep(cell, model.config.vocabSize, seed);
  const options = { activations: cell.activations, lossScale: 1 / data.targetCount, tap: () => {} } as const;
  return async () => {
    for (const { batch } of data.microBatches) await lossAndGradients(model, batch, {}, options);
    device.synchronize();
  };
}

function devicePeak(device: DeviceMemory): DevicePeak {
  const classes = Object.entries(device.facts().ledger).flatMap(([name, { peakBytes }]) =>
    name === "pinned" ? [] : [[name, Number(peakBytes)] as const]
  );
  return { total: classes.reduce((sum, [, bytes]) => sum + bytes, 0), classes: Object.fromEntries(classes) };
}
