// SPDX-License-Identifier: Apache-2.0
/**
 * Lazy-exact rows whose momentum outlives their second moment: beta1 above the root of beta2. Updates then grow while nothing
 * happens, so that weights which do not move now are not final.
 */
import assert from "node:assert/strict";
import { NativeContext } from "../../lib/native/context.ts";
import { DENSE, type Hyper, hyper, LAZY_EXACT, RowState } from "./adamw_check.ts";
import { assertSameBits } from "../compare.ts";
import { machineTargets } from "./kernel_check.ts";

const HIDDEN = 19;
const STEPS = 120;

/** A gradient, and one that takes nearly all of its momentum back: the update is next to nothing, the second moment is not. */
function race(
  lane: NativeContext,
  betas: Pick<Hyper, "beta1" | "beta2">,
): { marked: boolean; moved: boolean } {
  const weights = new Float32Array(HIDDEN).fill(8);
  const lr = new Float32Array(STEPS).fill(1e-4);
  const [dense, lazy] = [new RowState(lane, weights, 1, HIDDEN), new RowState(lane, weights, 1, HIDDEN)];
  let marked = false;
  let still: Float32Array | null = null;
  for (let step = 1; step <= STEPS; step++) {
    const grad = new Float32Array(HIDDEN).fill(step === 1 ? 1 : Math.fround(-betas.beta1 * (1 - 2 ** -20)));
    const touched = step <= 2 ? [0] : [];
    dense.step(lane, touched, grad, lr, hyper({ ...betas, step, mode: DENSE }));
    if (step <= 2) lazy.step(lane, touched, grad, lr, hyper({ ...betas, step, mode: LAZY_EXACT }));
    if (step === 2 || step === 10 || step === STEPS) {
      lazy.catchUp(lane, [0], 1, lr, step === STEPS, hyper({ ...betas, step }));
      assertSameBits(`weights after step ${step}`, lazy.weights(lane), dense.weights(lane));
      marked ||= (lazy.lastStep[0] as number) < 0;
    }
    if (step === 2) still = dense.weights(lane);
  }
  assertSameBits("m", lazy.m, dense.m);
  assertSameBits("v", lazy.v, dense.v);
  return { marked, moved: dense.weights(lane).some((w, i) => w !== still?.[i]) };
}

Deno.test("a row of mode lazy-exact is final only where updates cannot grow: beta1 above, at and below the root of beta2", () => {
  for (const target of machineTargets()) {
    using lane = new NativeContext({ target, threads: 1 });
    assert.deepEqual(race(lane, { beta1: 0.9, beta2: 0.999 }), { marked: true, moved: false }, "usual");
    assert.deepEqual(race(lane, { beta1: 0.99, beta2: 0.5 }), { marked: false, moved: true }, "far above");
    assert.equal(race(lane, { beta1: 0.9, beta2: 0.8 }).marked, false, "a little above");
    assert.equal(race(lane, { beta1: 0.5, beta2: 0.25 }).marked, false, "at the root, within rounding");
    assert.equal(race(lane, { beta1: 0.5, beta2: 0.26 }).marked, true, "a little below");
  }
});
