// SPDX-License-Identifier: Apache-2.0
/** The norms and hooks around what a sublayer computes: y = sum(x + output(f(h) + hooks(h))), h = input(x). */
import type { Again } from "../../activations/policy.ts";
import { addInto } from "../../ops/add.ts";
import { arenaCopy, arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { LinearResult } from "../../ops/linear.ts";
import { normAgain, normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { hooksBehind, hooksBeside } from "../hooks.ts";
import { normTensors } from "../part_tensors.ts";
import { branchOf, type Linear, type Norm, type Sublayer } from "../parts.ts";
import { backwardBeside, type Beside, forwardBeside, type Hooked } from "./beside.ts";
import { isTrained, type StepContext } from "./context.ts";
import { linearIsTrained } from "./linear.ts";
import type { SublayerForward } from "./sublayer.ts";

/** What every sublayer keeps besides what its f does. With a norm of the output or sum that is (T,D) more, its input. */
export interface NormedResiduals {
  /** (T,D) what entered. */
  readonly x: Tensor;
  readonly norms: Readonly<Record<"input" | "output" | "sum", NormResiduals | null>>;
  readonly hooked: readonly Hooked[];
  /** Of hooks behind f: what they were given, and left. Null where there are none. */
  readonly behind: { readonly o: Tensor; readonly hooked: readonly Hooked[] } | null;
}

/**
 * Forward of a sublayer.
 *
 * @param f Given h (T,D) and where f(h) is written or added to; null when it is not wanted. Returns what it keeps
 */
export async function normedForward<Kept>(
  step: StepContext,
  layer: number,
  part: Sublayer,
  { x, y, again, landing }: SublayerForward<NormedResiduals>,
  f: (h: Tensor, to: LinearResult<Tensor> | null) => Kept,
): Promise<NormedResiduals & Kept> {
  const { k, hooks, scratch } = step;
  const { input, output, sum } = part.norms;
  const inputNorm = input && normForward(k, x, input, { into: scratch.h });
  const h = inputNorm?.y ?? x;
  const after = hooksBehind(hooks, branchOf(part), layer);
  // What hooks behind f are given they need for backward too, as norms do what they read.
  const landed = after.length === 0 ? again?.landing : undefined;
  const needsOutput = landed === undefined &&
    (again?.needsOutput !== false || output !== null || sum !== null);
  const place = landed ?? landing;
  const total = (output === null ? place : undefined) ?? (sum === null ? y : arenaTensor(k, x.shape));
  const branch = output === null ? total : place ?? arenaTensor(k, x.shape);
  const own = again && { ...again, needsOutput };
  const beside = { hooks: hooksBeside(hooks, branchOf(part), layer), layer, h, again: own };
  const o = after.length > 0 ? arenaTensor(k, x.shape) : null; // which they read again in backward
  const { hooked, kept } = await forwardBeside(step, beside, o ?? branch, () => {
    if (o !== null) return f(h, { into: o });
    if (!needsOutput) return f(h, null);
    if (output !== null) return f(h, { into: branch });
    k.copy(branch.data, x.data);
    return f(h, { addTo: branch });
  });
  const behind = o && { o, hooked: await forwardBehind(step, { hooks: after, layer, h: o }, branch, own) };
  if (o !== null && output === null) addInto(k, branch, x);
  const outputNorm = output && normForward(k, branch, output, { into: total });
  if (outputNorm) addInto(k, total, x);
  const sumNorm = sum && normForward(k, total, sum, { into: y });
  if (sum === null && total !== y) k.copy(y.data, total.data);
  const norms = {
    input: inputNorm?.residuals ?? null,
    output: outputNorm?.residuals ?? null,
    sum: sumNorm?.residuals ?? null,
  };
  return { x, norms, hooked, behind, ...kept };
}

/** y = o + the hooks behind it. @returns what they left @mutates y */
async function forwardBehind(
  step: StepContext,
  { hooks, layer, h: o }: Beside,
  y: Tensor,
  again: Again<NormedResiduals> | undefined,
): Promise<readonly Hooked[]> {
  const first = again?.first.behind;
  const own = again && first ? { first, needsOutput: again.needsOutput } : undefined;
  const { hooked } = await forwardBeside(
    step,
    { hooks, layer, h: o, again: own },
    y,
    () => step.k.copy(y.data, o.data),
  );
  return hooked;
}

/** What comes back into a sublayer. */
export interface NormedBackward {
  readonly residuals: NormedResiduals;
  /** Products whose input is h: it is made again where one of them is trained. */
  readonly inputs: readonly Linear[];
  /** Whether anything else that reads h is. Default: no. */
  readonly isRead?: boolean;
  /** (T,D) holds dy; on return dx, when that is needed. */
  readonly dx: Tensor;
  /** Whether anything below is trained. */
  readonly needsInput: boolean;
}

/**
 * Backward of {@linkcode normedForward}.
 *
 * @param f Given h (T,D) and the gradient of f(h) (T,D), returns dh (T,D), or null when it is not wanted
 * @mutates dx, what is trained
 */
export async function normedBackward(
  step: StepContext,
  layer: number,
  part: Sublayer,
  { residuals: { x, norms, hooked, behind }, inputs, isRead: isReadToo = false, dx, needsInput }:
    NormedBackward,
  f: (h: Tensor, dy: Tensor, wanted: boolean) => Tensor | null,
): Promise<void> {
  const { k, hooks, scratch } = step;
  const { input, output, sum } = part.norms;
  if (sum && norms.sum) sumBackward(k, norms.sum, sum, dx);
  const dbranch = output && norms.output ? normBackward(k, norms.output, output, dx) : dx;
  const dy = behind ? await backwardBehind(step, layer, part, behind, dbranch) : dbranch;
  const beside = { hooks: hooksBeside(hooks, branchOf(part), layer), layer, h: input ? scratch.h : x };
  const wanted = needsInput || isTrained(normTensors(input));
  const isRead = isReadToo || beside.hooks.length > 0 ||
    inputs.some((linear) => linearIsTrained(linear, hooks, layer));
  if (input && norms.input && isRead) normAgain(k, norms.input, input, scratch.h);
  const dh = await backwardBeside(step, beside, hooked, dy, () => f(beside.h, dy, wanted));
  if (!wanted || dh === null) return;
  if (input && norms.input) normBackward(k, norms.input, input, dh, { addTo: dx });
  else addInto(k, dx, dh);
}

/** @param dx (T,D) holds the gradient of the norm's output, and that of the sum afterwards. @mutates dx, grads of the norm */
function sumBackward(k: Kernels, residuals: NormResiduals, norm: Norm, dx: Tensor): void {
  const mark = k.arena.mark();
  k.copy(dx.data, normBackward(k, residuals, norm, dx).data);
  k.arena.release(mark);
}

/** @param dy (T,D) read @returns the gradient of o, in the arena */
async function backwardBehind(
  step: StepContext,
  layer: number,
  part: Sublayer,
  { o, hooked }: Exclude<NormedResiduals["behind"], null>,
  dy: Tensor,
): Promise<Tensor> {
  const { k, hooks } = step;
  const own = { hooks: hooksBehind(hooks, branchOf(part), layer), layer, h: o };
  const d = arenaCopy(k, dy);
  await backwardBeside(step, own, hooked, dy, () => d);
  return d;
}
