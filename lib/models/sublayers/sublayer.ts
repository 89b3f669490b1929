// SPDX-License-Identifier: Apache-2.0
/** What a kind of sublayer is: how its part of a model computes. */
import type { Again } from "../../activations/policy.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type Hooks, hooksBehind, hooksBeside } from "../hooks.ts";
import { expertTensors, linearsOf, normsOf, normTensors } from "../part_tensors.ts";
import { branchOf, type Sublayer } from "../parts.ts";
import { isTrained, type StepContext } from "./context.ts";
import { linearIsTrained } from "./linear.ts";

/** What a sublayer's forward is given; see `Stage.forward`. */
export interface SublayerForward<Residuals> {
  /** (T,D) read. */
  readonly x: Tensor;
  /** (T,D) written: x and what the sublayer adds. @mutates */
  readonly y: Tensor;
  readonly again: Again<Residuals> | undefined;
  /** (T,D) @mutates */
  readonly landing: Tensor | undefined;
}

/** How sublayers of a kind compute. Residuals and temporaries lie in the arena. */
export interface SublayerKind<Part extends Sublayer, Residuals> {
  /** @mutates given */
  forward(
    step: StepContext,
    layer: number,
    part: Part,
    given: SublayerForward<Residuals>,
  ): Promise<Residuals>;
  /**
   * @param dx (T,D) holds dy; on return dx, when that is needed
   * @param needsInput Whether anything below this sublayer is trained
   * @mutates dx, residuals, grads of the part, what hooks train
   */
  backward(
    step: StepContext,
    layer: number,
    part: Part,
    residuals: Residuals,
    dx: Tensor,
    needsInput: boolean,
  ): Promise<void>;
}

/** Whether backward has something to add to in a sublayer: its weights, or what hooks train. */
export function sublayerIsTrained(part: Sublayer, hooks: Hooks, layer: number): boolean {
  const onBranch = [hooksBeside, hooksBehind].some((on) => on(hooks, branchOf(part), layer).length > 0);
  return onBranch || isTrained(normsOf(part).flatMap(normTensors)) ||
    isTrained(expertTensors(part)) ||
    linearsOf(part).some((linear) => linearIsTrained(linear, hooks, layer));
}
