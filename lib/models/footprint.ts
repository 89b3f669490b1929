// SPDX-License-Identifier: Apache-2.0
/**
 * What passes over a model take from the arena, foretold: the same requests in the same order as the engine's, on an
 * arena without memory. Contract tests hold it to the engine, byte for byte.
 */
import { ArenaLayout } from "../native/arena_layout.ts";
import {
  type CountingArena,
  type CountingArenas,
  lowestPlace,
  type PassPlan,
  taker,
  traceBackward,
  traceForward,
} from "./footprint_block.ts";

export type { AdapterRequests, CountingArenas, PassPlan } from "./footprint_block.ts";

const FLOAT_BYTES = 4;

/** A size of a training pass, or of one without gradients. */
export interface PassSize {
  /** Tokens of the micro-batch. */
  readonly tokens: number;
  /** Tokens that have a target. */
  readonly targets: number;
}

/** Empty ones. */
export function countingArenas(): CountingArenas {
  return { model: new ArenaLayout<number>(() => -1), host: new ArenaLayout<number>(() => -1) };
}

/** Bytes of their own that were in use at some time. */
export function touchedBytes({ model, host }: CountingArenas): number {
  return model.touchedBytes + host.touchedBytes;
}

/** Bytes of the logits of one chunk, the largest single request. */
export function logitsBytes({ config, chunkRows }: PassPlan, { targets }: PassSize): number {
  return Math.min(chunkRows, targets) * config.vocabSize * FLOAT_BYTES;
}

/**
 * A training pass over one micro-batch.
 *
 * @param lends Whether idle gradients lodge activations: in the first micro-batch of a step
 * @mutates arena: what it has touched
 */
export function tracePass(arenas: CountingArenas, plan: PassPlan, size: PassSize, lends: boolean): void {
  const { model: arena, host } = arenas;
  const hostStart = host.mark();
  const { config: { hiddenSize: d, numHiddenLayers: layers }, policy } = plan;
  const { tokens: T } = size;
  const lowest = lowestPlace(plan);
  const first = Math.max(0, Math.min(layers, Math.ceil(lowest / 2) - 1)); // backward does not reach the layers below
  const start = arena.mark();
  const take = taker(arena);
  take(T * d); // h
  if (plan.branch) take(T * d);
  take(T * d); // x
  take(T * d); // dx
  traceForwardOnly(arenas, plan, T, first);
  const lend = (layer: number): void => {
    if (lends) { for (const bytes of plan.gradientPieces[layer] ?? []) arena.lend(layer, 0, bytes); }
  };
  const marks: ReturnType<CountingArena["mark"]>[] = [];
  for (let layer = first; layer < layers; layer++) {
    if (layer > first) lend(layer - 1);
    marks.push(arena.mark());
    take(T * d); // y
    const mark = arena.mark();
    traceForward(arenas, plan, T, layer, "first");
    if (policy === "recompute") arena.release(mark);
  }
  traceTurn(arena, plan, size, true);
  for (let layer = layers - 1; layer >= first; layer--) {
    const mark = marks[layer - first] as ReturnType<CountingArena["mark"]>;
    if (policy === "recompute") arena.release(mark);
    arena.takeBack(({ memory }) => memory === layer);
    if (policy === "recompute") {
      take(T * d);
      traceForward(arenas, plan, T, layer, "again");
    }
    traceBackward(arena, plan, T, layer, lowest);
    arena.release(mark);
  }
  arena.release(start);
  host.release(hostStart);
}

/** The lowest layers, of which nothing is kept: two outputs in turn. @mutates arenas */
function traceForwardOnly(arenas: CountingArenas, plan: PassPlan, T: number, layers: number): void {
  if (layers === 0) return;
  const { model: arena, host } = arenas;
  for (const _ of ["y", "y"]) taker(arena)(T * plan.config.hiddenSize);
  for (let layer = 0; layer < layers; layer++) {
    const [mark, hostMark] = [arena.mark(), host.mark()];
    traceForward(arenas, plan, T, layer, "first");
    arena.release(mark);
    host.release(hostMark);
  }
}

/** A pass for the loss alone. @mutates arena */
export function traceEvaluation(arenas: CountingArenas, plan: PassPlan, size: PassSize): void {
  const { model: arena, host } = arenas;
  const hostStart = host.mark();
  const { config: { hiddenSize: d } } = plan;
  const { tokens: T } = size;
  const start = arena.mark();
  const take = taker(arena);
  take(T * d); // h
  if (plan.branch) take(T * d);
  take(T * d); // x
  traceForwardOnly(arenas, plan, T, plan.config.numHiddenLayers);
  host.release(hostStart);
  traceTurn(arena, plan, size, false);
  arena.release(start);
}

/** Final norm, and the loss chunk by chunk. */
function traceTurn(arena: CountingArena, plan: PassPlan, size: PassSize, gradient: boolean): void {
  const { config: { hiddenSize: d, vocabSize }, chunkRows } = plan;
  const take = taker(arena);
  const mark = arena.mark();
  const rows = Math.min(chunkRows, size.targets);
  take(size.tokens); // rstd
  if (gradient) take(size.tokens * d); // its gradient
  take(rows * d);
  take(rows * vocabSize);
  take(rows); // losses
  arena.release(mark);
}
