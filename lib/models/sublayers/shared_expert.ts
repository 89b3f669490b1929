// SPDX-License-Identifier: Apache-2.0
/** The expert that all tokens have: y += sigmoid(g(h)) down(activation(gate(h)) * up(h)). */
import { activationBackward, activationForward } from "../../ops/activation.ts";
import { arenaActivation, arenaCopy, arenaTensor } from "../../ops/arena_tensor.ts";
import { combineRows, weighRowsBackward } from "../../ops/experts.ts";
import type { ActivationKind } from "../../ops/kernels/model.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import type { Linear, SharedExpert } from "../parts.ts";
import type { StepContext } from "./context.ts";
import { hookedBackward, hookedForward } from "./linear.ts";

/** What backward keeps: 2TF elements of activations, and T floats. */
export interface SharedKept {
  readonly gate: Activation;
  readonly up: Activation;
  /** (T,1), before the sigmoid. */
  readonly logits: Tensor;
}

/** Products whose input is h. */
export function sharedInputs({ inputs, gate }: SharedExpert): readonly Linear[] {
  return [...inputs, gate];
}

/** @param y (T,D) is added to; null when it is not wanted. @mutates y */
export function sharedForward(
  step: StepContext,
  layer: number,
  { inputs: [gateLinear, upLinear], down, gate: weigher }: SharedExpert,
  activation: ActivationKind,
  h: Tensor,
  y: Tensor | null,
): SharedKept {
  const { k } = step;
  const gate = hookedForward(step, layer, gateLinear, h);
  const up = hookedForward(step, layer, upLinear, h);
  const logits = arenaTensor(k, [h.shape[0] ?? 0, 1]);
  hookedForward(step, layer, weigher, h, { into: logits });
  if (y) {
    const mark = k.arena.mark();
    const output = hookedForward(step, layer, down, activationForward(k, { x: gate, up }, activation));
    const weights = activationForward(k, { x: logits, up: null }, "sigmoid");
    combineRows(k, output, everyRow(h), weights, { active: 1, addTo: y });
    k.arena.release(mark);
  }
  return { gate, up, logits };
}

/** What comes back into it, and where dh goes: null when it is not wanted. */
interface SharedBackward {
  readonly h: Tensor;
  readonly dy: Tensor;
  readonly dh: Tensor | null;
}

/** @mutates kept, dh, grads of its products, what hooks train */
export function sharedBackward(
  step: StepContext,
  layer: number,
  { inputs: [gateLinear, upLinear], down, gate: weigher }: SharedExpert,
  activation: ActivationKind,
  { gate, up, logits }: SharedKept,
  { h, dy, dh }: SharedBackward,
): void {
  const { k } = step;
  const mark = k.arena.mark();
  const active = activationForward(k, { x: gate, up }, activation);
  const weights = activationForward(k, { x: logits, up: null }, "sigmoid");
  const slots = everyRow(h);
  const doutput = combineRows(k, dy, slots, weights, { active: 1 });
  const dactive = arenaActivation(k, active.shape);
  hookedBackward(step, layer, down, active, doutput, { into: dactive });
  const dlogits = weigherBackward(step, active, dactive, logits);
  const { dx: dgate, dup } = activationBackward(k, { x: gate, up }, activation, dactive, { inPlace: true });
  const to = dh && { addTo: dh };
  hookedBackward(step, layer, gateLinear, h, dgate, to);
  hookedBackward(step, layer, upLinear, h, dup, to);
  hookedBackward(step, layer, weigher, h, dlogits, to);
  k.arena.release(mark);
}

/**
 * With w = sigmoid(logit) and u what comes back through `down` for w = 1, dw = active.u and dlogit = w (1 - w) dw: of what
 * came back for this w, wu, that is (1 - w) active.(wu).
 *
 * @returns (T,1)
 */
function weigherBackward(
  { k }: StepContext,
  active: Activation,
  dactive: Activation,
  logits: Tensor,
): Tensor {
  const slots = everyRow(logits);
  const { dweights } = weighRowsBackward(k, active, slots, logits, arenaCopy(k, dactive));
  const opposite = arenaCopy(k, logits);
  k.scale(opposite.data, -1);
  const rest = activationForward(k, { x: opposite, up: null }, "sigmoid", { inPlace: true });
  return combineRows(k, dweights, slots, rest, { active: 1 });
}

/** (T): each row itself. */
function everyRow({ shape: [rows = 0] }: Tensor): Int32Array {
  return Int32Array.from({ length: rows }, (_, row) => row);
}
