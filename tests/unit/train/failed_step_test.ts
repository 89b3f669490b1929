// SPDX-License-Identifier: Apache-2.0
/** A step that fails somewhere leaves no trace: taken again, it ends in the bits of a run in which nothing failed. */
import assert from "node:assert/strict";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { assertSameBits } from "../../compare.ts";
import { firstAndLast, threeSteps } from "../../fixtures/failed_steps.ts";

for (
  const way of [
    { placement: "host" },
    { placement: "host", halves: 2 },
    { placement: "device", cachedRows: 48 },
    { placement: "device", cachedRows: 4 },
    { placement: "device", cachedRows: 4, halves: 2 },
  ] as const
) {
  Deno.test(`a step that failed anywhere and is taken again has the bits of one that did not: ${JSON.stringify(way)}`, async () => {
    const whole = await threeSteps(referenceKernels(), way, []);
    const fails = firstAndLast(whole.counts);
    // On a device each failure leaves something else in the slots; the one before the good step counts.
    const onDevice = way.placement === "device";
    assert.equal(fails.length, onDevice ? 10 : 2);
    for (const at of onDevice ? fails.map((fail) => [fail]) : [fails]) {
      const { bytes } = await threeSteps(referenceKernels(), way, at);
      for (const [i, [name, expected]] of whole.bytes.entries()) {
        assertSameBits(`${name} after ${at}`, bytes[i]![1], expected);
      }
    }
  });
}
