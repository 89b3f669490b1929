// SPDX-License-Identifier: Apache-2.0
/** Attention as a sublayer: f(h) = o(attention(q, k, v)). */
import { arenaActivation } from "../../ops/arena_tensor.ts";
import {
  attentionBackward,
  attentionForward,
  type AttentionOptions,
  type AttentionResiduals,
} from "../../ops/attention.ts";
import { normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import { rotaryBackward, rotaryForward } from "../../ops/rotary.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import { type Attention, type Norm, normTensors } from "../parts.ts";
import type { RopeRows } from "../rotary.ts";
import { isTrained, type StepContext } from "./context.ts";
import { inputsBackward, inputsForward } from "./inputs.ts";
import { hookedBackward, hookedForward, linearIsTrained } from "./linear.ts";
import { normedBackward, normedForward, type NormedResiduals } from "./normed.ts";
import type { SublayerKind } from "./sublayer.ts";

/** What backward keeps besides: T*2(H + Hkv)Dh elements of activations, T*H floats, and the inputs of head norms. */
interface AttentionKept {
  /** Null where the family has no such norms. */
  readonly qNorm: NormResiduals<Activation> | null;
  readonly kNorm: NormResiduals<Activation> | null;
  readonly attention: AttentionResiduals;
}

/** All that backward keeps. */
export type AttentionSublayerResiduals = NormedResiduals & AttentionKept;

/** See {@linkcode Attention}. */
export const attention: SublayerKind<Attention, AttentionSublayerResiduals> = {
  forward(step, layer, part, x, y, again) {
    const { k } = step;
    return normedForward(step, layer, part, { x, y, again }, (h, to): AttentionKept => {
      const [queries, keys, values] = inputsForward(step, layer, part.inputs, h, widthsOf(part)) as Triple;
      const q = turned(step, part, queries, part.heads, part.qkNorms?.q);
      const fresh = turned(step, part, keys, part.kvHeads, part.qkNorms?.k);
      const own = { keys: fresh.rotated, values: split(values, part.kvHeads) };
      const seen = step.extend?.(layer, own) ?? own;
      const { y: o, residuals } = attentionForward(k, q.rotated, seen.keys, seen.values, options(step, part));
      if (to) hookedForward(step, layer, part.o, join(o), to);
      return { qNorm: q.norm, kNorm: fresh.norm, attention: residuals };
    });
  },

  backward(step, layer, part, residuals, dx, needsInput) {
    const back = { residuals, inputs: part.inputs, dx, needsInput };
    return normedBackward(
      step,
      layer,
      part,
      back,
      (h, dy, wanted) => frozenBackward(step, layer, part, residuals, { h, dy, wanted }),
    );
  },
};

/** Queries, keys and values. */
type Triple = [Activation, Activation, Activation];

/** Columns of queries, keys and values. */
function widthsOf({ heads, kvHeads, headDim }: Attention): number[] {
  return [heads, kvHeads, kvHeads].map((count) => count * headDim);
}

function options({ spans }: StepContext, { sees, window, scale, softcap }: Attention): AttentionOptions {
  return { spans, sees, window, scale, softcap };
}

/** dy to dh (when that is wanted) through products and attention. @mutates grads of the part, what the hooks train */
function frozenBackward(
  step: StepContext,
  layer: number,
  part: Attention,
  { qNorm, kNorm, attention }: AttentionSublayerResiduals,
  { h, dy, wanted }: { readonly h: Tensor; readonly dy: Tensor; readonly wanted: boolean },
): Tensor | null {
  const { k, hooks } = step;
  const { qkNorms } = part;
  const belowAttention = wanted ||
    isTrained([qkNorms?.q ?? null, qkNorms?.k ?? null].flatMap((norm) => normTensors(norm))) ||
    part.inputs.some((linear) => linearIsTrained(linear, hooks, layer));
  const o = join(attention.o);
  const to = belowAttention ? { into: arenaActivation(k, o.shape) } : null;
  const dO = hookedBackward(step, layer, part.o, o, dy, to);
  if (dO === null) return null;
  const { dq, dk, dv } = attentionBackward(k, attention, split(dO, part.heads), options(step, part));
  const seen = { keys: dk, values: dv };
  const own = step.extendBackward?.(layer, seen) ?? seen;
  const dprojected = [
    turnedBackward(step, part, dq, qkNorms?.q, qNorm),
    turnedBackward(step, part, own.keys, qkNorms?.k, kNorm),
    join(own.values),
  ];
  return inputsBackward(step, layer, part.inputs, h, dprojected, wanted);
}

/** Splits a projection (T,heads*Dh) into heads; norms before or after that, and turns, each where the part says so. */
function turned(
  step: StepContext,
  part: Attention,
  projected: Activation,
  count: number,
  norm: Norm | undefined,
): { rotated: Activation; norm: NormResiduals<Activation> | null } {
  const { k } = step;
  const isWhole = part.qkNorms?.over === "projection";
  const normed = norm && normForward(k, isWhole ? projected : split(projected, count), norm);
  const plain = normed?.y ?? projected;
  const inHeads = plain.shape.length === 3 ? plain : split(plain, count);
  const rows = rowsOf(step, part);
  const rotated = rows ? rotaryForward(k, inHeads, rows.tables, rows.rows) : inHeads;
  return { rotated, norm: normed?.residuals ?? null };
}

/** @returns The gradient of the projection, (T,heads*Dh). @mutates d, grad of the norm */
function turnedBackward(
  step: StepContext,
  part: Attention,
  d: Activation,
  norm: Norm | undefined,
  residuals: NormResiduals<Activation> | null,
): Activation {
  const { k } = step;
  const rows = rowsOf(step, part);
  const unrotated = rows ? rotaryBackward(k, d, rows.tables, rows.rows) : d;
  if (!norm || !residuals) return join(unrotated);
  const isWhole = part.qkNorms?.over === "projection";
  const dnormed = normBackward(k, residuals, norm, isWhole ? join(unrotated) : unrotated);
  return isWhole ? dnormed : join(dnormed);
}

/** Rows of the rotary embedding that turns a part's queries and keys; null where none does. */
function rowsOf({ rope }: StepContext, { rotary, module }: Attention): RopeRows | null {
  if (rotary === null) return null;
  const rows = rope.get(rotary);
  if (!rows) throw new RangeError(`The model has no rotary embedding "${rotary}", which ${module} asks for`);
  return rows;
}

/** (T,heads*Dh) seen as (T,heads,Dh). */
function split({ shape: [tokens = 0, width = 0], data }: Activation, count: number): Activation {
  return { shape: [tokens, count, width / count], data };
}

/** (T,heads,Dh) seen as (T,heads*Dh). */
function join({ shape: [tokens = 0, count = 0, headDim = 0], data }: Activation): Activation {
  return { shape: [tokens, count * headDim], data };
}
