// SPDX-License-Identifier: Apache-2.0
/**
 * What passes over a model take from the arena, foretold: the same requests in the same order as the engine's, on an
 * arena without memory. Contract tests hold it to the engine, byte for byte.
 */
import type { ActivationPolicyName } from "../activations/registry.ts";
import { ArenaLayout } from "../native/arena_layout.ts";
import type { ModelConfig } from "./model.ts";
import type { LinearSite } from "./sites.ts";

const FLOAT_BYTES = 4;

/** A size of a training pass, or of one without gradients. */
export interface PassSize {
  /** Tokens of the micro-batch. */
  readonly tokens: number;
  /** Tokens that have a target. */
  readonly targets: number;
}

/** Floats that something takes from the arena, by request, each of 4 bytes. */
export type Requests = readonly number[];

/** What an adapter takes, by the tokens of the pass. */
export interface AdapterRequests {
  /** Kept from a layer's forward on until its backward is done. */
  kept(tokens: number): Requests;
  /** Whether those lie in the host arena, where they outlast activations that are made again. Default false. */
  readonly keptOnHost?: boolean;
  /** Taken and given back before the layer's frozen work goes on, forward and backward; absent for none. */
  readonly passing?: {
    forward(tokens: number): Requests;
    backward(tokens: number): Requests;
  };
  /** Taken by a layer's backward. */
  backward(tokens: number): Requests;
  /** Taken for a moment beside each linear weight with a hook, forward and backward; null without such hooks. */
  readonly linear: LinearRequests | null;
}

/** What a hook on linear weights takes beside each of them. */
export interface LinearRequests {
  readonly sites: ReadonlySet<LinearSite>;
  readonly rank: number;
  /** Whether inputs are copied, for dropout. */
  readonly copies: boolean;
}

/** All that a pass depends on. */
export interface PassPlan {
  readonly config: ModelConfig;
  readonly policy: ActivationPolicyName;
  /** Of an element as the backend stores activations. */
  readonly activationBytes: number;
  /** Rows of a chunk of logits. */
  readonly chunkRows: number;
  readonly adapter: AdapterRequests;
  /** Whether there is a hook on the feed-forward branch. */
  readonly branch: boolean;
  /** Whether the model's own weights are trained. */
  readonly full: boolean;
  /** Bytes of each piece of a layer's gradients, by layer: idle until its backward. */
  readonly gradientPieces: readonly (readonly number[])[];
}

/** An arena that only counts. Lent blocks are known by their layer. */
type CountingArena = ArenaLayout<number>;

/** The two arenas of a pass: of the model's lane, and of what the host lane keeps. */
export interface CountingArenas {
  readonly model: CountingArena;
  readonly host: CountingArena;
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
  const start = arena.mark();
  const take = taker(arena);
  take(T * d); // h
  if (plan.branch) take(T * d);
  take(T * d); // x
  take(T * d); // dx
  const lend = (layer: number): void => {
    if (lends) { for (const bytes of plan.gradientPieces[layer] ?? []) arena.lend(layer, 0, bytes); }
  };
  const marks: ReturnType<CountingArena["mark"]>[] = [];
  for (let layer = 0; layer < layers; layer++) {
    if (layer > 0) lend(layer - 1);
    marks.push(arena.mark());
    take(T * d); // y
    const mark = arena.mark();
    traceForward(arenas, plan, T, "first");
    if (policy === "recompute") arena.release(mark);
  }
  traceTurn(arena, plan, size, true);
  for (let layer = layers - 1; layer >= 0; layer--) {
    const mark = marks[layer] as ReturnType<CountingArena["mark"]>;
    if (policy === "recompute") arena.release(mark);
    arena.takeBack(({ memory }) => memory === layer);
    if (policy === "recompute") {
      take(T * d);
      traceForward(arenas, plan, T, "again");
    }
    traceBackward(arena, plan, T, layer === 0);
    arena.release(mark);
  }
  arena.release(start);
  host.release(hostStart);
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
  for (const _ of ["x", "y", "y"]) take(T * d);
  const mark = arena.mark();
  traceForward(arenas, plan, T, "first");
  arena.release(mark);
  host.release(hostStart);
  traceTurn(arena, plan, size, false);
  arena.release(start);
}

/** Takes floats. */
function taker(arena: CountingArena): (elements: number) => void {
  return (elements) => void arena.take(elements * FLOAT_BYTES);
}

/** Takes elements of activations. */
function activationTaker(arena: CountingArena, plan: PassPlan): (elements: number) => void {
  return (elements) => void arena.take(elements * plan.activationBytes);
}

/** What a block keeps, and what its forward takes for a while. */
function traceForward(
  { model: arena, host }: CountingArenas,
  plan: PassPlan,
  T: number,
  run: "first" | "again",
): void {
  const { config, adapter } = plan;
  const { hiddenSize: d, intermediateSize: F, numAttentionHeads: H, numKeyValueHeads: Hkv, headDim } = config;
  const [take, store] = [taker(arena), activationTaker(arena, plan)];
  const site = (name: LinearSite, inputs: number): void =>
    traceLinearHook(arena, plan, T, name, inputs, "forward");
  const heads = (name: LinearSite, count: number): void => {
    store(T * count * headDim);
    site(name, d);
    if (!config.headNorms) return;
    store(T * count * headDim);
    take(T * count); // rstd
  };
  take(T); // rstd
  take(T * d); // y of the attention half
  heads("q", H);
  heads("k", Hkv);
  store(T * Hkv * headDim); // v
  site("v", d);
  store(T * H * headDim); // o
  take(T * H); // log-sum-exp
  site("o", H * headDim);
  take(T); // rstd
  const keeps = adapter.keptOnHost ? taker(host) : take;
  if (run === "first" || !adapter.keptOnHost) {
    adapter.kept(T).forEach(keeps);
    tracePassing(arena, adapter.passing?.forward(T));
  }
  store(T * F); // gate
  site("gate", d);
  store(T * F); // up
  site("up", d);
  if (run === "again") return; // the block's output is not made again
  const mark = arena.mark();
  store(T * F); // their product
  site("down", F);
  arena.release(mark);
}

function traceBackward(arena: CountingArena, plan: PassPlan, T: number, lowest: boolean): void {
  const { config, adapter, branch, full } = plan;
  const { hiddenSize: d, intermediateSize: F, numAttentionHeads: H, numKeyValueHeads: Hkv, headDim } = config;
  const [take, store] = [taker(arena), activationTaker(arena, plan)];
  const site = (name: LinearSite, inputs: number, wanted = true): void =>
    traceLinearHook(arena, plan, T, name, inputs, wanted ? "backward" : "lowest");
  const mark = arena.mark();
  tracePassing(arena, adapter.passing?.backward(T));
  adapter.backward(T).forEach(take);
  const belowBranch = !(lowest && branch); // else nothing below the hook is trained
  if (belowBranch) {
    if (full || adapter.linear?.sites.has("down")) store(T * F); // the product again
    store(T * F); // its gradient
    site("down", F);
    take(T * d); // dh
    site("gate", d);
    site("up", d);
  }
  arena.release(mark);
  if (!belowBranch) return;
  const wanted = !lowest || full; // the gradient of what enters the first layer matters to the embedding alone
  store(T * H * headDim); // dO
  site("o", H * headDim);
  store(T * H * headDim); // dq
  store(T * Hkv * headDim); // dk
  store(T * Hkv * headDim); // dv
  if (config.headNorms) store(T * H * headDim);
  if (wanted) take(T * d); // dh
  site("q", d, wanted);
  if (config.headNorms) store(T * Hkv * headDim);
  site("k", d, wanted);
  site("v", d, wanted);
}

/** Taken together and given back. */
function tracePassing(arena: CountingArena, requests: Requests = []): void {
  const mark = arena.mark();
  requests.forEach(taker(arena));
  arena.release(mark);
}

/** LoRA's thin products, and copies of inputs with dropout; taken and given back. */
function traceLinearHook(
  arena: CountingArena,
  { adapter: { linear } }: PassPlan,
  T: number,
  site: LinearSite,
  inputs: number,
  way: "forward" | "backward" | "lowest",
): void {
  if (!linear?.sites.has(site)) return;
  const take = taker(arena);
  const mark = arena.mark();
  if (linear.copies) take(T * inputs);
  take(T * linear.rank);
  if (way !== "forward") take(T * linear.rank);
  if (way === "backward" && linear.copies) take(T * inputs);
  arena.release(mark);
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
