// SPDX-License-Identifier: Apache-2.0
/** Room for the gradients of touched rows: what growing keeps, how much it makes, and what is booked. */
import assert from "node:assert/strict";
import { createRowGradients, growRowGradients, rowGradientBytes } from "../../../lib/ops/row_gradients.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { assertSameBits } from "../../compare.ts";

const [NEURONS, HIDDEN] = [20, 3];

for (const keys of [true, false]) {
  Deno.test(`room for rows grows by half as much again, keeps what it holds and is booked once, keys ${keys ? "trained" : "frozen"}`, () => {
    const k = referenceKernels();
    const held = () => k.ledger.held.get("gradients");
    const first = createRowGradients(k, NEURONS, HIDDEN, { keys, slots: 4 });
    assert.equal(first.values.length, 4 * HIDDEN);
    assert.equal(held(), rowGradientBytes(first));
    assert.equal(rowGradientBytes(first), 2 * 4 * NEURONS + 8 * 4 * HIDDEN * (keys ? 2 : 1));
    first.rowCount = 3;
    first.values.set([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    first.keys?.set([-1, -2, -3, -4, -5, -6, -7, -8, -9]);
    assert.equal(growRowGradients(k, first, 1, HIDDEN), first, "there is room for one more");
    const grown = growRowGradients(k, first, 2, HIDDEN);
    assert.equal(grown.values.length, 8 * HIDDEN, "five, and half as much again");
    assert.equal(grown.rowCount, 3);
    assert.deepEqual([grown.slots, grown.rows], [first.slots, first.rows]);
    assertSameBits("values", grown.values.subarray(0, 9), first.values.subarray(0, 9));
    assert.equal(grown.keys?.length, keys ? 8 * HIDDEN : undefined);
    if (grown.keys) assertSameBits("keys", grown.keys.subarray(0, 9), first.keys!.subarray(0, 9));
    assert.equal(held(), rowGradientBytes(grown));
    // Never more than there are neurons, whatever is asked for.
    const all = growRowGradients(k, grown, 1000, HIDDEN);
    assert.equal(all.values.length, NEURONS * HIDDEN);
    assert.equal(growRowGradients(k, all, 1000, HIDDEN), all);
    assert.equal(held(), rowGradientBytes(all));
  });
}
