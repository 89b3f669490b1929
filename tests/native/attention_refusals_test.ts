// SPDX-License-Identifier: Apache-2.0
/** What attention refuses, before anything is written: spans, sizes, and what queries cannot see. */
import assert from "node:assert/strict";
import { attentionBackward, attentionForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { type AttentionParams, writeAttentionParams } from "../../lib/native/structs.ts";
import { MEFT_F32, MEFT_SEES_ALL, MEFT_SEES_PAST } from "../../lib/native/symbols.ts";

/** Two causal spans of four, of two heads of two over one kv head. */
const SPANS = Int32Array.of(0, 4, 0, 4, 4, 8, 4, 8);
const ATTENTION = {
  ...{ compute: MEFT_F32, qRows: 8, kRows: 8, heads: 2, kvHeads: 1, headDim: 2 },
  ...{ window: 0, spanCount: 2, scale: 1, softcap: 0, sees: MEFT_SEES_PAST },
};

/** Runs both directions, of ones; returns what they write. */
function attentionCalls(change: Partial<AttentionParams>, spans: Int32Array) {
  const params = writeAttentionParams({ ...ATTENTION, ...change, spanCount: spans.length / 4 });
  const [ones, keys] = [new Float32Array(32).fill(1), new Float32Array(16).fill(1)];
  const [o, dq, lse] = [32, 32, 16].map((count) => new Float32Array(count).fill(7)) as Float32Array[];
  const [dk, dv] = [new Float32Array(16).fill(7), new Float32Array(16).fill(7)];
  return {
    written: [o, lse, dq, dk, dv] as Float32Array[],
    forward: (lane: NativeContext) => attentionForward(lane, o!, lse!, ones, keys, keys, spans, params),
    backward: (lane: NativeContext) =>
      attentionBackward(lane, dq!, dk, dv, ones, ones, keys, keys, ones, lse!, spans, params),
  };
}

Deno.test("attention refuses bad spans and sizes, naming them, before it writes", () => {
  using lane = new NativeContext({ threads: 1 });
  const of = (...spans: number[]) => Int32Array.from(spans);
  const cases: readonly (readonly [Partial<AttentionParams>, Int32Array, RegExp])[] = [
    [{}, of(0, 9, 0, 9), /span 0 has query rows 0 to 9, expected a range within 0 to 8/],
    [{}, of(0, 4, 0, 4, -1, 4, 0, 5), /span 1 has query rows -1 to 4/],
    [{}, of(0, 4, 5, 9), /span 0 has key rows 5 to 9/],
    [{}, of(0, 4, 0, 3), /span 0 has 4 queries and 3 keys, expected no more queries than keys/],
    [{ sees: MEFT_SEES_ALL, window: 2 }, of(0, 4, 0, 3), /span 0 has 4 queries and 3 keys/],
    [{}, of(4, 8, 4, 8, 0, 5, 0, 5), /spans 1 and 0 share query row 4/],
    [{ sees: MEFT_SEES_ALL }, of(4, 8, 4, 8, 0, 5, 0, 0), /spans 1 and 0 share query row 4/],
    [{ heads: 3, kvHeads: 2 }, SPANS, /heads is 3 and kv_heads 2/],
    [{ headDim: 0 }, SPANS, /head_dim is 0/],
    [{ scale: 0 }, SPANS, /scale is 0/],
    [{ softcap: -1 }, SPANS, /softcap is -1, expected finite and 0 or more/],
    [{ softcap: Infinity }, SPANS, /softcap is inf/],
    [{ sees: 2 }, SPANS, /sees is 2, expected MEFT_SEES_PAST or MEFT_SEES_ALL/],
    [{ window: -1 }, SPANS, /window is -1/],
  ];
  for (const [change, spans, message] of cases) {
    const { written, forward, backward } = attentionCalls(change, spans);
    assert.throws(() => forward(lane), message);
    assert.throws(() => backward(lane), message);
    assert.ok(written.every((array) => array.every((x) => x === 7)), String(message));
  }
});

Deno.test("attentionForward() reads keys that spans share, attentionBackward() refuses them", () => {
  using lane = new NativeContext({ threads: 1 });
  const { forward, backward } = attentionCalls({}, Int32Array.of(0, 2, 0, 4, 2, 4, 2, 6));
  forward(lane);
  assert.throws(() => backward(lane), /attention_backward: spans 0 and 1 share key row 2/);
});
