// SPDX-License-Identifier: Apache-2.0
/** What one block takes from the arena, foretold: the requests of its halves, of the hooks in them, forward and backward. */
import type { ActivationPolicyName } from "../activations/registry.ts";
import type { ArenaLayout } from "../native/arena_layout.ts";
import type { ModelConfig } from "./model.ts";

type LinearSite = string;

const FLOAT_BYTES = 4;

/** Floats that something takes from the arena, by request, each of 4 bytes. */
export type Requests = readonly number[];

/** What an adapter takes, by the tokens of the pass. */
export interface AdapterRequests {
  /** Kept from a layer's forward on until its backward is done. */
  kept(tokens: number): Requests;
  /** Whether those lie in the host arena, where they outlast activations that are made again. Default false. */
  readonly keptOnHost?: boolean;
  /** Taken from the host arena by a layer's forward, and as much by its backward, and given back; absent for none. */
  passingOnHost?(tokens: number): Requests;
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
  /** R of the thin products at a site of a layer; 0 where there is no hook. */
  rank(layer: number, site: LinearSite): number;
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
export type CountingArena = ArenaLayout<number>;

/** The two arenas of a pass: of the model's lane, and of what the host lane keeps. */
export interface CountingArenas {
  readonly model: CountingArena;
  readonly host: CountingArena;
}

/** Whether backward adds to something at a site. */
function isTrainedSite({ full, adapter: { linear } }: PassPlan, layer: number, site: LinearSite): boolean {
  return full || (linear !== null && linear.rank(layer, site) > 0);
}

const ATTENTION_INPUTS: readonly LinearSite[] = ["q", "k", "v"];
const FFN_INPUTS: readonly LinearSite[] = ["gate", "up"];

/** Place of the lowest thing that is trained, as `lowestTrained` of the block recipe has it. */
export function lowestPlace(plan: PassPlan): number {
  const any = (layer: number, sites: readonly LinearSite[]): boolean =>
    sites.some((site) => isTrainedSite(plan, layer, site));
  if (plan.full) return 0;
  for (let layer = 0; layer < plan.config.numHiddenLayers; layer++) {
    if (any(layer, [...ATTENTION_INPUTS, "o"])) return 1 + 2 * layer;
    if (plan.branch || any(layer, [...FFN_INPUTS, "down"])) return 2 + 2 * layer;
  }
  return Infinity;
}

/** Takes floats. */
export function taker(arena: CountingArena): (elements: number) => void {
  return (elements) => void arena.take(elements * FLOAT_BYTES);
}

/** Takes elements of activations. */
function activationTaker(arena: CountingArena, plan: PassPlan): (elements: number) => void {
  return (elements) => void arena.take(elements * plan.activationBytes);
}

/** What a block keeps, and what its forward takes for a while. */
export function traceForward(
  { model: arena, host }: CountingArenas,
  plan: PassPlan,
  T: number,
  layer: number,
  run: "first" | "again",
): void {
  const { config, adapter } = plan;
  const { hiddenSize: d, intermediateSize: F, numAttentionHeads: H, numKeyValueHeads: Hkv, headDim } = config;
  const [take, store] = [taker(arena), activationTaker(arena, plan)];
  const site = (name: LinearSite, inputs: number): void =>
    traceLinearHook(arena, plan, T, layer, name, inputs, "forward");
  const heads = (name: LinearSite, count: number): void => {
    store(T * count * headDim);
    site(name, d);
    if (!config.headNorms) return;
    store(T * count * headDim);
    take(T * count); // rstd
  };
  take(T * d); // y of the attention sublayer
  take(T); // rstd
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
    tracePassing(host, adapter.passingOnHost?.(T));
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

/** Backward of a block, down to the lowest place that is trained. */
export function traceBackward(
  arena: CountingArena,
  plan: PassPlan,
  T: number,
  layer: number,
  lowest: number,
): void {
  const [attentionPlace, ffnPlace] = [1 + 2 * layer, 2 + 2 * layer];
  const mark = arena.mark();
  tracePassing(arena, plan.adapter.passing?.backward(T));
  plan.adapter.backward(T).forEach(taker(arena));
  traceFfnBackward(arena, plan, T, layer, ffnPlace > lowest);
  arena.release(mark);
  if (attentionPlace >= lowest) traceAttentionBackward(arena, plan, T, layer, attentionPlace > lowest);
}

/** @param below Whether anything below this half is trained */
function traceFfnBackward(
  arena: CountingArena,
  plan: PassPlan,
  T: number,
  layer: number,
  below: boolean,
): void {
  const { config: { hiddenSize: d, intermediateSize: F }, full } = plan;
  const store = activationTaker(arena, plan);
  const site = siteBackward(arena, plan, T, layer);
  const wanted = below || full;
  const belowDown = wanted || FFN_INPUTS.some((name) => isTrainedSite(plan, layer, name));
  if (isTrainedSite(plan, layer, "down")) store(T * F); // the product again
  if (belowDown) store(T * F); // its gradient
  site("down", F, belowDown);
  if (!belowDown) return;
  if (wanted) taker(arena)(T * d); // dh
  site("gate", d, wanted);
  site("up", d, wanted);
}

/** @param below Whether anything below this half is trained: the embedding is when all is */
function traceAttentionBackward(
  arena: CountingArena,
  plan: PassPlan,
  T: number,
  layer: number,
  below: boolean,
): void {
  const { config, full } = plan;
  const { hiddenSize: d, numAttentionHeads: H, numKeyValueHeads: Hkv, headDim } = config;
  const store = activationTaker(arena, plan);
  const site = siteBackward(arena, plan, T, layer);
  const wanted = below || full;
  const belowAttention = wanted || ATTENTION_INPUTS.some((name) => isTrainedSite(plan, layer, name));
  if (belowAttention) store(T * H * headDim); // dO
  site("o", H * headDim, belowAttention);
  if (!belowAttention) return;
  store(T * H * headDim); // dq
  store(T * Hkv * headDim); // dk
  store(T * Hkv * headDim); // dv
  if (config.headNorms) store(T * H * headDim);
  if (wanted) taker(arena)(T * d); // dh
  site("q", d, wanted);
  if (config.headNorms) store(T * Hkv * headDim);
  site("k", d, wanted);
  site("v", d, wanted);
}

/** What traces the hook of a site in a layer's backward; `dx` says whether the gradient of its inputs is wanted. */
function siteBackward(
  arena: CountingArena,
  plan: PassPlan,
  T: number,
  layer: number,
): (name: LinearSite, inputs: number, dx: boolean) => void {
  return (name, inputs, dx) =>
    traceLinearHook(arena, plan, T, layer, name, inputs, dx ? "backward" : "lowest");
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
  layer: number,
  site: LinearSite,
  inputs: number,
  way: "forward" | "backward" | "lowest",
): void {
  const rank = linear?.rank(layer, site) ?? 0;
  if (linear === null || rank === 0) return;
  const take = taker(arena);
  const mark = arena.mark();
  if (linear.copies) take(T * inputs);
  take(T * rank);
  if (way !== "forward") take(T * rank);
  if (way === "backward" && linear.copies) take(T * inputs);
  arena.release(mark);
}
