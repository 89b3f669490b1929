// SPDX-License-Identifier: Apache-2.0
/** Attention as a sublayer: f(h) = o(attention(q, k, v)). */
import type { AttentionResiduals } from "../../ops/attention.ts";
import { normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import { rotaryBackward, rotaryForward } from "../../ops/rotary.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import { normTensors } from "../part_tensors.ts";
import type { Attention, Norm } from "../parts.ts";
import type { RopeRows } from "../rotary.ts";
import { attendBackward, attendForward, type Attending, inHeads, joined } from "./attend.ts";
import { isTrained, type StepContext } from "./context.ts";
import { inputsBackward, inputsForward } from "./inputs.ts";
import { linearIsTrained } from "./linear.ts";
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
  forward(step, layer, part, given) {
    return normedForward(step, layer, part, given, (h, to): AttentionKept => {
      const [queries, keys, values] = inputsForward(step, layer, part.inputs, h, widthsOf(part)) as Triple;
      const q = turned(step, part, queries, part.heads, part.qkNorms?.q);
      const fresh = turned(step, part, keys, part.kvHeads, part.qkNorms?.k);
      const own = { keys: fresh.rotated, values: inHeads(values, part.kvHeads) };
      const seen = step.extend?.(layer, own) ?? own;
      const residuals = attendForward(step, attending(step, layer, part), q.rotated, seen, to);
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

function attending({ spans }: StepContext, layer: number, part: Attention): Attending {
  const { o, sees, window, scale, softcap } = part;
  return { layer, o, options: { spans, sees, window, scale, softcap } };
}

/** dy to dh (when that is wanted) through products and attention. @mutates grads of the part, what the hooks train */
function frozenBackward(
  step: StepContext,
  layer: number,
  part: Attention,
  { qNorm, kNorm, attention }: AttentionSublayerResiduals,
  { h, dy, wanted }: { readonly h: Tensor; readonly dy: Tensor; readonly wanted: boolean },
): Tensor | null {
  const { hooks } = step;
  const { qkNorms } = part;
  const belowAttention = wanted ||
    isTrained([qkNorms?.q ?? null, qkNorms?.k ?? null].flatMap((norm) => normTensors(norm))) ||
    part.inputs.some((linear) => linearIsTrained(linear, hooks, layer));
  const inner = attendBackward(step, attending(step, layer, part), attention, dy, belowAttention);
  if (inner === null) return null;
  const { dq, dk, dv } = inner;
  const seen = { keys: dk, values: dv };
  const own = step.extendBackward?.(layer, seen) ?? seen;
  const dprojected = [
    turnedBackward(step, part, dq, qkNorms?.q, qNorm),
    turnedBackward(step, part, own.keys, qkNorms?.k, kNorm),
    joined(own.values),
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
  const normed = norm && normForward(k, isWhole ? projected : inHeads(projected, count), norm);
  const plain = normed?.y ?? projected;
  const split = plain.shape.length === 3 ? plain : inHeads(plain, count);
  const rows = rowsOf(step, part);
  const rotated = rows ? rotaryForward(k, split, rows.tables, rows.rows) : split;
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
  if (!norm || !residuals) return joined(unrotated);
  const isWhole = part.qkNorms?.over === "projection";
  const dnormed = normBackward(k, residuals, norm, isWhole ? joined(unrotated) : unrotated);
  return isWhole ? dnormed : joined(dnormed);
}

/** Rows of the rotary embedding that turns a part's queries and keys; null where none does. */
function rowsOf({ rope }: StepContext, { rotary, module }: Attention): RopeRows | null {
  if (rotary === null) return null;
  const rows = rope.get(rotary);
  if (!rows) throw new RangeError(`The model has no rotary embedding "${rotary}", which ${module} asks for`);
  return rows;
}
