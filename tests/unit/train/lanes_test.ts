// SPDX-License-Identifier: Apache-2.0
/** Whose time a hook's call is. */
import { hookBeside, hooksOf } from "../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import type { BranchHook } from "../../../lib/models/hooks.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { createLaneTimes, timedHooks } from "../../../lib/train/lanes.ts";

const NOTHING: Tensor = { shape: [0, 0], data: new Float32Array(0) };

/** Calls every part of a hook once; each part takes as many milliseconds as `cost` says. */
async function timesOf(
  cost: Record<keyof Omit<BranchHook, "has" | "residualsOnHost">, number>,
  later: boolean,
) {
  let now = 0;
  const takes = (ms: number) => async () => {
    if (later) await Promise.resolve();
    now += ms;
  };
  const call = (ms: number) => later ? takes(ms) : () => void (now += ms);
  const hook: BranchHook = {
    forward: call(cost.forward),
    finish: call(cost.finish),
    backward: call(cost.backward),
    finishBackward: call(cost.finishBackward),
  };
  const times = createLaneTimes();
  const ffn = hookBeside(timedHooks(hooksOf({ ffn: hook }), times, () => now));
  await ffn.forward(0, NOTHING, NOTHING);
  await ffn.finish?.(0, null, NOTHING, NOTHING);
  await ffn.backward(0, null, NOTHING, NOTHING, NOTHING);
  await ffn.finishBackward?.(0, null, NOTHING, NOTHING, NOTHING);
  return times;
}

const COST = { forward: 1, finish: 20, backward: 300, finishBackward: 4000 };

Deno.test("every part of a hook is adapter work: done while the model waits, beside it, or by its own lane", async () => {
  assert.deepEqual(await timesOf(COST, false), { inlineMs: 301, besideMs: 0, ownMs: 4020, waitMs: 0 });
  assert.deepEqual(await timesOf(COST, true), { inlineMs: 0, besideMs: 301, ownMs: 4020, waitMs: 0 });
});

Deno.test("a hook that has nothing to finish gets nothing to finish", () => {
  const hook: BranchHook = { forward: () => null, backward: () => {} };
  const ffn = hookBeside(timedHooks(hooksOf({ ffn: hook }), createLaneTimes(), () => 0));
  assert.equal("finish" in ffn || "finishBackward" in ffn, false);
});
