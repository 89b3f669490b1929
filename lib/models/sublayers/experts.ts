// SPDX-License-Identifier: Apache-2.0
/** A mixture of experts as a sublayer: f(h) = sum over a token's experts e of p_e expert_e(h), + sigmoid(g(h)) shared(h). */
import { activationBackward, activationForward } from "../../ops/activation.ts";
import { arenaActivation, arenaTensor } from "../../ops/arena_tensor.ts";
import {
  type ChoiceResiduals,
  chooseExperts,
  chooseExpertsBackward,
  combineRows,
  type ExpertGroups,
  gatherRows,
  groupByExpert,
  weighRowsBackward,
} from "../../ops/experts.ts";
import type { ExpertChoice } from "../../ops/kernels/experts.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearBackwardWeight, linearForward, type LinearResult } from "../../ops/linear.ts";
import type { Activation, Tensor, Weight } from "../../tensor/tensor.ts";
import { expertTensors } from "../part_tensors.ts";
import type { Expert, Experts } from "../parts.ts";
import { isTrained } from "./context.ts";
import { normedBackward, normedForward, type NormedResiduals } from "./normed.ts";
import { sharedBackward, sharedForward, sharedInputs, type SharedKept } from "./shared_expert.ts";
import type { SublayerKind } from "./sublayer.ts";

/** What backward keeps besides: 2TKF elements of activations, T(N + K) floats, and what the shared expert keeps. */
interface ExpertsKept {
  readonly choice: ChoiceResiduals;
  /** (T,K) of each token's experts. */
  readonly weights: Tensor;
  readonly groups: ExpertGroups;
  /** (T*K,F) each, the rows of an expert together; backward turns them into their gradients. */
  readonly gate: Activation;
  readonly up: Activation;
  readonly shared: SharedKept | null;
}

/** All that backward keeps. */
export type ExpertsResiduals = NormedResiduals & ExpertsKept;

/** See {@linkcode Experts}. */
export const experts: SublayerKind<Experts, ExpertsResiduals> = {
  forward(step, layer, part, given) {
    const { k } = step;
    return normedForward(step, layer, part, given, (h, to): ExpertsKept => {
      const logits = linearForward(k, h, part.router);
      // What was chosen is not chosen again: of an input that is not quite the same it might be others.
      const { weights, residuals: choice } = chooseExperts(
        k,
        logits,
        choiceOf(part),
        given.again?.first.choice.chosen,
      );
      const groups = given.again?.first.groups ?? groupByExpert(choice.chosen, choiceOf(part));
      const inner = [slots(k, groups, widthOf(part)), slots(k, groups, widthOf(part))] as const;
      const [gate, up] = inner;
      const mark = k.arena.mark();
      const rows = gatherRows(k, h, groups.tokens);
      forEachExpert(part, groups, ({ gate: wGate, up: wUp }, of) => {
        linearForward<Activation>(k, of(rows), wGate, { into: of(gate) });
        linearForward<Activation>(k, of(rows), wUp, { into: of(up) });
      });
      k.arena.release(mark);
      const result = to && startOf(k, to);
      if (result) addExperts(k, part, groups, inner, weights, result);
      const shared = part.shared && sharedForward(step, layer, part.shared, part.activation, h, result);
      return { choice, weights, groups, gate, up, shared };
    });
  },

  backward(step, layer, part, residuals, dx, needsInput) {
    const { k } = step;
    const isRead = isTrained(expertTensors(part));
    const back = { residuals, inputs: part.shared ? sharedInputs(part.shared) : [], isRead, dx, needsInput };
    return normedBackward(step, layer, part, back, (h, dy, wanted) => {
      const dh = wanted ? arenaTensor(k, h.shape) : null;
      if (dh) k.zero(dh.data);
      if (wanted || isRead) expertsBackward(k, part, residuals, h, dy, dh);
      if (part.shared && residuals.shared) {
        sharedBackward(step, layer, part.shared, part.activation, residuals.shared, { h, dy, dh });
      }
      return dh;
    });
  },
};

function choiceOf({ experts: { length }, active, normalised }: Experts): ExpertChoice {
  return { experts: length, active, normalised };
}

/** F. */
function widthOf({ experts: [first] }: Experts): number {
  return (first as Expert).down.cols;
}

/** (T*K,width) in the arena. */
function slots(k: Kernels, { tokens }: ExpertGroups, width: number): Activation {
  return arenaActivation(k, [tokens.length, width]);
}

/** Where results are added to: what was to be written is 0 first. */
function startOf(k: Kernels, { into, addTo }: LinearResult<Tensor>): Tensor {
  if (into) k.zero(into.data);
  return (addTo ?? into) as Tensor;
}

/** Calls `body(expert, of)` for each expert that has rows; `of` gives its rows of a tensor, as a view. */
function forEachExpert(
  { experts: all }: Experts,
  { starts }: ExpertGroups,
  body: (expert: Expert, of: (x: Activation) => Activation) => void,
): void {
  all.forEach((expert, e) => {
    const [begin, end] = [starts[e] as number, starts[e + 1] as number];
    if (begin === end) return;
    body(expert, ({ shape: [, width = 0], data }) => ({
      shape: [end - begin, width],
      data: data.subarray(begin * width, end * width),
    }));
  });
}

/** y += the weighed outputs of the experts. @mutates y */
function addExperts(
  k: Kernels,
  part: Experts,
  groups: ExpertGroups,
  [gate, up]: readonly [Activation, Activation],
  weights: Tensor,
  y: Tensor,
): void {
  const mark = k.arena.mark();
  const active = activationForward(k, { x: gate, up }, part.activation);
  const outputs = slots(k, groups, y.shape[1] ?? 0);
  forEachExpert(
    part,
    groups,
    ({ down }, of) => linearForward<Activation>(k, of(active), down, { into: of(outputs) }),
  );
  combineRows(k, outputs, groups.places, weights, { active: part.active, addTo: y });
  k.arena.release(mark);
}

/** @param dh (T,D) is added to; null when it is not wanted. @mutates residuals, dh, grads of router and experts */
function expertsBackward(
  k: Kernels,
  part: Experts,
  { choice, weights, groups, gate, up }: ExpertsKept,
  h: Tensor,
  dy: Tensor,
  dh: Tensor | null,
): void {
  const mark = k.arena.mark();
  const trained = isTrained(expertTensors(part));
  const active = activationForward(k, { x: gate, up }, part.activation);
  const dactive = throughDown(k, part, groups, { active, weights }, dy);
  const { dx: dinner, dweights } = weighRowsBackward(k, active, groups.slots, weights, dactive);
  const { dx: dgate, dup } = activationBackward(k, { x: gate, up }, part.activation, dinner, {
    inPlace: true,
  });
  const rows = trained ? gatherRows(k, h, groups.tokens) : null;
  const drows = dh && slots(k, groups, h.shape[1] ?? 0);
  forEachExpert(part, groups, (expert, of) => {
    const x = rows && of(rows);
    if (drows) {
      linearBackward<Activation>(k, x, expert.gate, of(dgate), { into: of(drows) });
      linearBackward<Activation>(k, x, expert.up, of(dup), { addTo: of(drows) });
    } else {
      linearBackwardWeight(k, x, expert.gate, of(dgate));
      linearBackwardWeight(k, x, expert.up, of(dup));
    }
  });
  if (dh && drows) combineRows(k, drows, groups.places, null, { active: part.active, addTo: dh });
  const dlogits = chooseExpertsBackward(k, choice, choiceOf(part), dweights);
  if (dh) linearBackward(k, h, part.router, dlogits, { addTo: dh });
  else linearBackwardWeight(k, h, part.router, dlogits);
  k.arena.release(mark);
}

/** (T*K,F) what comes back through the last products, not weighed yet: their weights' gradient is weighed where they are trained. */
function throughDown(
  k: Kernels,
  part: Experts,
  groups: ExpertGroups,
  { active, weights }: { readonly active: Activation; readonly weights: Tensor },
  dy: Tensor,
): Activation {
  const dactive = slots(k, groups, widthOf(part));
  const mark = k.arena.mark();
  const doutputs = gatherRows(k, dy, groups.tokens);
  forEachExpert(part, groups, ({ down }, of) => {
    linearBackward<Activation>(k, null, frozen(down), of(doutputs), { into: of(dactive) });
  });
  if (part.experts.some(({ down }) => isTrained([down]))) {
    const weighed = weighRowsBackward(k, doutputs, groups.slots, weights, doutputs).dx;
    forEachExpert(part, groups, ({ down }, of) => linearBackwardWeight(k, of(active), down, of(weighed)));
  }
  k.arena.release(mark);
  return dactive;
}

function frozen(weight: Weight): Weight {
  return { ...weight, grad: null };
}
