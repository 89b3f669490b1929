// SPDX-License-Identifier: Apache-2.0
/** Kernels of a mixture-of-experts that are measured, at the sizes of a 30B-A3B model: 8 of 128 experts a token. */
import { groupByExpert } from "../../lib/ops/experts.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { activationBytes, activations, type KernelCase, type MakeCase, random, room } from "./operands.ts";

const [TOKENS, HIDDEN, FEED_FORWARD] = [1024, 2048, 768];
const CHOICE = { experts: 128, active: 8, normalised: true };
const SLOTS = TOKENS * CHOICE.active;
const SHAPE = `${TOKENS} x ${CHOICE.active} of ${CHOICE.experts}`;

/** Logits, and the groups that come of them. */
function chosen(k: Kernels) {
  const logits = random(k, TOKENS * CHOICE.experts);
  const [weights, own] = [new Float32Array(SLOTS), new Int32Array(SLOTS)];
  k.expertsChoose(weights, own, logits, CHOICE);
  return { logits, weights, own, groups: groupByExpert(own, CHOICE) };
}

function streaming(name: string, bytes: number, run: () => void): KernelCase {
  return { name, shape: SHAPE, bound: "updateGigabytes", work: 1e-9 * bytes, run };
}

/** Choosing, bringing rows together, summing them, and the way back. */
export const EXPERT_CASES: readonly MakeCase[] = [
  (k) => {
    const { logits, weights, own } = chosen(k);
    return streaming(
      "experts chosen",
      4 * logits.length,
      () => k.expertsChoose(weights, own, logits, CHOICE),
    );
  },
  (k) => {
    const { groups } = chosen(k);
    const [x, y] = [random(k, TOKENS * HIDDEN), new Float32Array(SLOTS * HIDDEN)];
    const run = () => k.expertsGather(y, x, groups.tokens, HIDDEN);
    return streaming("rows by expert", 8 * y.length, run);
  },
  (k) => {
    const { weights, groups } = chosen(k);
    const [x, y] = [activations(k, SLOTS * HIDDEN), new Float32Array(TOKENS * HIDDEN)];
    const run = () => k.expertsCombine(y, x, groups.places, weights, CHOICE.active, HIDDEN, true);
    return streaming("rows of experts summed", activationBytes(k) * x.length + 8 * y.length, run);
  },
  (k) => {
    const { weights, groups } = chosen(k);
    const [dx, dweights] = [room(k, SLOTS * FEED_FORWARD), new Float32Array(SLOTS)];
    const [dy, x] = [activations(k, dx.length), activations(k, dx.length)];
    const run = () => k.expertsWeighBackward(dx, dweights, dy, x, groups.slots, weights, FEED_FORWARD);
    return streaming("rows of experts weighed, backward", 3 * activationBytes(k) * dx.length, run);
  },
];
