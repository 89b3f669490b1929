// SPDX-License-Identifier: Apache-2.0
/** What all sublayers of one pass share. */
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import { type Activation, isTrainedWeight, type Tensor, type Weight } from "../../tensor/tensor.ts";
import type { Hooks } from "../hooks.ts";
import type { Model } from "../model.ts";
import type { RopeCaches, RopeRows } from "../rotary.ts";

/** Keys and values of one layer, (rows,Hkv,Dh). */
export interface KeyValues {
  readonly keys: Activation;
  readonly values: Activation;
}

/** What the layers of a stack see of the stack before it: N tokens of the S sequences of the batch. */
export interface SourceContext {
  /** (S,4) int32 for attention: rows of queries, and of keys and values. */
  readonly spans: Int32Array;
  /** (N,D) what came out of that stack; null where its keys and values are remembered. */
  readonly hidden: Tensor | null;
  /** (N,D) the gradient of that, summed over all layers; null when nothing needs it. */
  readonly gradient: Tensor | null;
  /** Keys and values of a layer, when decoding; absent when each layer makes its own of `hidden`. */
  readonly remembered?: (layer: number) => KeyValues;
}

/** One pass over the tokens of a batch. */
export interface StepContext {
  readonly k: Kernels;
  readonly hooks: Hooks;
  /** Of each rotary embedding of the model, by its name. */
  readonly rope: ReadonlyMap<string, RopeRows>;
  /** (S,4) int32 for attention: rows of queries and of what `extend` returns. */
  readonly spans: Int32Array;
  /** Puts new keys and values behind those of earlier calls, when decoding; null when these are all. */
  readonly extend: ((layer: number, fresh: KeyValues) => KeyValues) | null;
  /** Given the gradients of what `extend` returned, gives those of what it was given; the same when absent. */
  readonly extendBackward?: ((layer: number, gradients: KeyValues) => KeyValues) | undefined;
  /** What comes of the stack before; absent in the first. */
  readonly source?: SourceContext | undefined;
  /** Memory that every sublayer uses for a while. */
  readonly scratch: StepScratch;
  /** Given while a hook is under way and all that can be done without it is: lets the other part of the micro-batch work. */
  readonly yieldTurn?: (() => Promise<void>) | undefined;
  /** What was waited for; absent when nobody asks. */
  readonly waits?: WaitAccount | undefined;
}

/** Is told when the model's lane waits for hooks. */
export interface WaitAccount {
  /** It was given all that it can do before a hook has answered. */
  begin(): void;
  /** It is given work again, which may still have to wait for the answer to arrive. */
  end(): void;
}

/** Memory of the sublayer under way; what is in it does not outlive that sublayer's forward or backward. */
export interface StepScratch {
  /**
   * (T,D) norm(x), the input of the sublayer's weights and hook, where it has such a norm. Backward makes it again where it
   * is needed.
   */
  readonly h: Tensor;
  /** (T,D) each, for as many hooks as are on one branch at most. Forward: what it adds; backward: its share of dh. */
  readonly branch: readonly Tensor[];
}

/**
 * What all sublayers share for some tokens. Takes scratch from the arena.
 *
 * @param own Its spans, and what is not as for tokens whose keys are all there are
 */
export function openStep(
  { kernels: k, config, rope }: Model,
  { positions, starts }: { readonly positions: Int32Array; readonly starts: Int32Array },
  hooks: Hooks,
  own: Pick<StepContext, "spans"> & Partial<StepContext>,
): StepContext {
  return {
    k,
    hooks,
    rope: own.rope ?? ropeRows(rope, positions, starts),
    extend: null,
    scratch: stepScratch(k, hooks, positions.length, config.hiddenSize),
    ...own,
  };
}

/** Rows of a micro-batch in the tables of each rotary embedding; see `RopeCache.rowsFor`. */
export function ropeRows(
  caches: RopeCaches,
  positions: Int32Array,
  starts: Int32Array,
): ReadonlyMap<string, RopeRows> {
  return new Map([...caches].map(([name, cache]) => [name, cache.rowsFor(positions, starts)]));
}

/** Whether backward adds to any of these. */
export function isTrained(weights: readonly (Weight | null | undefined)[]): boolean {
  return weights.some((weight) => weight != null && isTrainedWeight(weight));
}

/** Scratch of a pass over `tokens` tokens of a stream of `width`. */
function stepScratch(k: Kernels, hooks: Hooks, tokens: number, width: number): StepScratch {
  const shape = [tokens, width];
  const counts = [hooks.branch, hooks.behind].flatMap((places) => [...places?.values() ?? []])
    .map(({ length }) => length);
  const h = arenaTensor(k, shape);
  return { h, branch: Array.from({ length: Math.max(0, ...counts) }, () => arenaTensor(k, shape)) };
}
