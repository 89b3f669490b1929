// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { clipFactor, clipOf } from "../../../lib/optim/clip.ts";

Deno.test("clipFactor() is torch's: clip / (norm + 1e-6), never above 1, and 1 without a limit", () => {
  assert.equal(clipFactor(4, 1), 1 / (4 + 1e-6));
  assert.equal(clipFactor(0.5, 1), 1);
  assert.equal(clipFactor(0, 1), 1);
  assert.equal(clipFactor(1e30, null), 1);
});

Deno.test("clipOf() is the limit where the norm is of these gradients", () => {
  for (const clipBy of ["all", "layer"] as const) {
    assert.equal(clipOf({ clip: 2, clipBy }, clipBy), 2);
    assert.equal(clipOf({ clip: 2, clipBy }, clipBy === "all" ? "layer" : "all"), null);
  }
});
