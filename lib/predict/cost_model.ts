// SPDX-License-Identifier: Apache-2.0
/**
 * What a training step will take with each placement of the sparse adapter, from the sizes of the run and the rates of the
 * machine. A pure function: it chooses the placement and the number of halves, and prints what it chose by.
 */
import type { Placement } from "../adapters/adapter.ts";
import { pairsPerToken, unitedNeurons } from "../ops/sparse.ts";
import { busiest, type LaneName } from "../train/lane_account.ts";
import { backwardTimes, forwardTimes, type LayerCosts, type PassTimes } from "./lane_schedule.ts";
import type { LaneRates } from "./machine/rates.ts";

/** Sizes that the time of a step depends on. */
export interface StepSizes {
  /** M of a micro-batch, and tokens of a sequence in it. */
  readonly tokens: number;
  readonly sequenceTokens: number;
  readonly micros: number;
  readonly layers: number;
  readonly hidden: number;
  readonly feedForward: number;
  /** Columns of all query heads, and of all key heads. */
  readonly queryColumns: number;
  readonly keyColumns: number;
  readonly recompute: boolean;
  readonly neurons: number;
  readonly experts: number;
  readonly activeExperts: number;
  readonly topK: number;
  /** Bytes of an activation that travels, and of a row's element and its gradient's. */
  readonly activationBytes: number;
  readonly rowBytes: number;
  readonly gradientBytes: number;
  /** Rows of one layer that the device has room for; 0 for a cache of one micro-batch only. */
  readonly cachedRows: number;
  /** Rows that a micro-batch fires; when absent, were hits uniform: real use is skewed, so it is less. */
  readonly activeRows?: number;
}

/** One way to run a step, and what it will take. */
export interface StepPrediction {
  readonly placement: Placement;
  readonly halves: 1 | 2;
  readonly stepMs: number;
  /** Milliseconds that each lane works. */
  readonly busyMs: Readonly<Record<LaneName, number>>;
  /** The lane that works longest. */
  readonly bound: LaneName;
  readonly downBytes: number;
  readonly upBytes: number;
}

/** Seconds of the model's lane in one layer of a micro-batch, forward: products, and causal attention inside sequences. */
function modelSeconds(sizes: StepSizes, rates: LaneRates): { attention: number; feedForward: number } {
  const { tokens, hidden, queryColumns, keyColumns, feedForward, sequenceTokens } = sizes;
  const projections = 4 * tokens * hidden * (queryColumns + keyColumns);
  const inner = 2 * tokens * sequenceTokens * queryColumns;
  const flops = rates.modelFlopsPerSecond;
  return {
    attention: (projections + inner) / flops,
    feedForward: 6 * tokens * hidden * feedForward / flops,
  };
}

/** Backward of a frozen product is one product; attention's inner part takes 2.5 times its forward. */
function modelBackwardSeconds(sizes: StepSizes, rates: LaneRates) {
  const { attention, feedForward } = modelSeconds(sizes, rates);
  const inner = 2 * sizes.tokens * sizes.sequenceTokens * sizes.queryColumns / rates.modelFlopsPerSecond;
  // Run again are all products but those of `down`.
  const recompute = sizes.recompute ? attention + feedForward * 2 / 3 : 0;
  return { attention: attention + 1.5 * inner, feedForward, recompute };
}

/** Bytes that one layer of a step moves each way. */
interface LayerBytes {
  readonly down: number;
  readonly up: number;
}

function passCosts(
  model: { readonly attention: number; readonly feedForward: number; readonly recompute?: number },
  bytes: LayerBytes,
  hostSeconds: number,
  rates: LaneRates,
): LayerCosts {
  return {
    attention: model.attention,
    feedForward: model.feedForward,
    recompute: model.recompute ?? 0,
    down: bytes.down / rates.downBytesPerSecond,
    host: hostSeconds,
    up: bytes.up / rates.upBytesPerSecond,
    meeting: rates.meetingSeconds,
  };
}

/** Forward and backward costs and bytes of one layer of one micro-batch. */
interface PlacementCosts {
  readonly forward: LayerCosts;
  readonly backward: LayerCosts;
  readonly bytes: LayerBytes;
}

/** Activations travel: h and dy down, y and dh up; the host does all of the adapter. */
function hostCosts(sizes: StepSizes, rates: LaneRates): PlacementCosts {
  const { tokens, hidden, experts, neurons, activeExperts } = sizes;
  const activation = tokens * hidden * sizes.activationBytes;
  const way = { down: activation, up: activation };
  const scores = 2 * tokens * hidden * (experts + activeExperts * neurons / experts);
  const pairs = 2 * tokens * pairsPerToken(sizes) * hidden;
  return {
    forward: passCosts(
      modelSeconds(sizes, rates),
      way,
      scores / rates.scoreFlopsPerSecond + pairs / rates.pairFlopsPerSecond,
      rates,
    ),
    backward: passCosts(
      modelBackwardSeconds(sizes, rates),
      way,
      4 * pairs / rates.pairFlopsPerSecond,
      rates,
    ),
    bytes: { down: 2 * activation, up: 2 * activation },
  };
}

/**
 * Rows travel: h down for routing and scores, keys and values of the rows that fire up, their gradients down; the model's
 * lane multiplies densely by those rows. With a cache, rows and gradients of a step travel once for all micro-batches.
 */
function deviceCosts(sizes: StepSizes, rates: LaneRates): PlacementCosts {
  const { tokens, hidden, experts, neurons, activeExperts, micros } = sizes;
  const active = sizes.activeRows ?? unitedNeurons(sizes);
  const ofStep = sizes.activeRows ??
    unitedNeurons({ ...sizes, tokens: tokens * micros });
  const cached = ofStep <= sizes.cachedRows;
  const travelling = cached ? ofStep / micros : active;
  const rows = 2 * hidden * sizes.rowBytes * travelling * (cached ? 1 : 2);
  const gradients = 2 * hidden * sizes.gradientBytes * travelling;
  const activation = tokens * hidden * sizes.activationBytes;
  const pairBytes = tokens * pairsPerToken(sizes) * 8;
  const scores = 2 * tokens * hidden * (experts + activeExperts * neurons / experts);
  const dense = 2 * tokens * active * hidden / rates.modelFlopsPerSecond;
  const forward = modelSeconds(sizes, rates);
  const backward = modelBackwardSeconds(sizes, rates);
  const hostTraffic = (bytes: number): number => 2 * bytes / rates.hostBytesPerSecond;
  const upForward = (cached ? rows : rows / 2) + pairBytes;
  const upBackward = cached ? 0 : rows / 2;
  return {
    // The rows are needed by the value sum, which waits where host placement waits for y.
    forward: passCosts(
      { ...forward, attention: forward.attention + dense },
      { down: activation, up: upForward },
      scores / rates.scoreFlopsPerSecond + hostTraffic(upForward),
      rates,
    ),
    backward: passCosts(
      { ...backward, feedForward: backward.feedForward + 4 * dense },
      { down: gradients, up: upBackward },
      hostTraffic(gradients) + hostTraffic(upBackward),
      rates,
    ),
    bytes: { down: activation + gradients, up: upForward + upBackward },
  };
}

function predictOne(
  placement: Placement,
  halves: 1 | 2,
  sizes: StepSizes,
  rates: LaneRates,
): StepPrediction {
  const costs = (placement === "host" ? hostCosts : deviceCosts)(sizes, rates);
  const passes: readonly PassTimes[] = [
    forwardTimes(costs.forward, sizes.layers, halves),
    backwardTimes(costs.backward, sizes.layers, halves),
  ];
  const ms = (of: (times: PassTimes) => number): number =>
    1000 * sizes.micros * passes.reduce((sum, times) => sum + of(times), 0);
  const busyMs = {
    model: ms(({ model }) => model),
    down: ms(({ down }) => down),
    host: ms(({ host }) => host),
    up: ms(({ up }) => up),
  };
  return {
    placement,
    halves,
    stepMs: ms(({ total }) => total),
    busyMs,
    bound: busiest(busyMs),
    downBytes: sizes.layers * sizes.micros * costs.bytes.down,
    upBytes: sizes.layers * sizes.micros * costs.bytes.up,
  };
}

/** Both placements, each whole and in halves: the quickest first. */
export function predictSteps(sizes: StepSizes, rates: LaneRates): StepPrediction[] {
  const all = (["host", "device"] as const).flatMap((placement) =>
    ([1, 2] as const).map((halves) => predictOne(placement, halves, sizes, rates))
  );
  return all.toSorted((a, b) => a.stepMs - b.stepMs);
}

/**
 * The quickest way that a choice leaves open.
 *
 * @param wanted A placement or a number of halves that is forced; what is absent is chosen
 */
export function choosePlacement(
  sizes: StepSizes,
  rates: LaneRates,
  wanted: { readonly placement?: Placement | undefined; readonly halves?: 1 | 2 | undefined } = {},
): StepPrediction {
  const open = predictSteps(sizes, rates).filter(({ placement, halves }) =>
    (wanted.placement ?? placement) === placement && (wanted.halves ?? halves) === halves
  );
  return open[0] as StepPrediction;
}
