// SPDX-License-Identifier: Apache-2.0
/** Op pairs: what they refuse, and how the loss is cut into chunks. */
import assert from "node:assert/strict";
import { randomNormal } from "../../../lib/core/rng.ts";
import { activationBackward, activationForward } from "../../../lib/ops/activation.ts";
import { addInto } from "../../../lib/ops/add.ts";
import { attentionBackward, attentionForward, crossSpans, selfSpans } from "../../../lib/ops/attention.ts";
import { embeddingBackward, embeddingForward } from "../../../lib/ops/embedding.ts";
import type { NormCall } from "../../../lib/ops/kernels/model.ts";
import { linearBackward, linearForward } from "../../../lib/ops/linear.ts";
import { headLossForward, headLossForwardBackward, lossChunkRows } from "../../../lib/ops/loss.ts";
import { normBackward, normForward } from "../../../lib/ops/norm.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { rotaryForward, type RotaryTables } from "../../../lib/ops/rotary.ts";
import { numel, type Tensor, type Weight } from "../../../lib/tensor/tensor.ts";
import { assertSame, assertSameBits } from "../../compare.ts";
import { now } from "../../now.ts";

function normal(stream: number, ...shape: number[]): Tensor & { data: Float64Array } {
  const data = new Float64Array(numel(shape));
  randomNormal(data, 5, stream, 1);
  return { shape, data };
}

function weight(stream: number, rows: number, cols: number, grad = false): Weight {
  const { data } = normal(stream, rows, cols);
  const gradient = grad ? new Float64Array(rows * cols) : null;
  return { name: "w", dtype: "f64", rows, cols, data, mapped: null, grad: gradient };
}

function norm(cols: number): NormCall {
  return { kind: "rms", weight: weight(1, 1, cols), bias: null, eps: 1e-5, unitOffset: false };
}

function tables(rows: number, rotaryDim: number): RotaryTables {
  const half = rows * rotaryDim / 2;
  return { cos: normal(1, half).data, sin: normal(1, half).data, rows, rotaryDim };
}

const k = referenceKernels();
const refused: [string, () => unknown, RegExp][] = [
  [
    "linearForward() x",
    () => linearForward(k, normal(0, 2, 3), weight(1, 4, 5)),
    /x of "w" has shape \(2,3\)/,
  ],
  [
    "linearForward() bias",
    () => linearForward(k, normal(0, 2, 3), weight(1, 4, 3), { bias: weight(2, 1, 3) }),
    /weight "w" has shape \(1,3\), expected \(1,O\) = \(1,4\)/,
  ],
  [
    "linearForward() addTo",
    () => linearForward(k, normal(0, 2, 3), weight(1, 4, 3), { addTo: normal(2, 3, 4) }),
    /addTo of "w" has shape \(3,4\), expected \(...,O\) = \(2,4\)/,
  ],
  [
    "linearBackward() dy",
    () => linearBackward(k, null, weight(1, 4, 3), normal(0, 2, 3)),
    /dy of "w" has shape \(2,3\), expected \(...,O\) = \(2,4\)/,
  ],
  [
    "linearBackward() x of a trained weight",
    () => linearBackward(k, null, weight(1, 4, 3, true), normal(0, 2, 4)),
    /x of "w" is missing/,
  ],
  [
    "embeddingForward() ids",
    () => embeddingForward(k, Int32Array.of(0, 4), weight(1, 4, 3)),
    /ids\[1\] is 4, expected from 0 to 3/,
  ],
  [
    "embeddingBackward() dy",
    () => embeddingBackward(k, Int32Array.of(0), weight(1, 4, 3), normal(0, 1, 2)),
    /dy of "w" has shape \(1,2\)/,
  ],
  [
    "embeddingForward() addTo",
    () => embeddingForward(k, Int32Array.of(0), weight(1, 4, 3), { addTo: normal(2, 2, 3) }),
    /addTo of "w" has shape \(2,3\), expected \(T,D\) = \(1,3\)/,
  ],
  [
    "normForward() weight",
    () => normForward(k, normal(0, 2, 3), norm(4)),
    /weight "w" has shape \(1,4\), expected \(1,D\) = \(1,3\)/,
  ],
  [
    "normForward() bias",
    () => normForward(k, normal(0, 2, 3), { ...norm(3), bias: weight(2, 1, 4) }),
    /weight "w" has shape \(1,4\), expected \(1,D\) = \(1,3\)/,
  ],
  [
    "normBackward() stats",
    () => normBackward(k, { x: normal(0, 2, 3), stats: normal(1, 3) }, norm(3), normal(3, 2, 3)),
    /stats of "w" has shape \(3\), expected \(rows\) = \(2\)/,
  ],
  [
    "normBackward() stats of layer",
    () => {
      const residuals = { x: normal(0, 2, 3), stats: normal(1, 2) };
      return normBackward(k, residuals, { ...norm(3), kind: "layer" }, normal(3, 2, 3));
    },
    /stats of "w" has shape \(2\), expected \(rows\) = \(2,2\)/,
  ],
  [
    "rotaryForward() positions",
    () => rotaryForward(k, normal(0, 2, 1, 4), tables(4, 4), Int32Array.of(0)),
    /x of rotary has shape \(2,1,4\), expected \(T,H,Dh\) = \(1,1,4\)/,
  ],
  [
    "rotaryForward() tables wider than a head",
    () => rotaryForward(k, normal(0, 1, 1, 3), tables(1, 4), Int32Array.of(0)),
    /rotaryDim of rotary is 4, expected an even number up to 3/,
  ],
  [
    "attentionForward() k and v",
    () =>
      attentionForward(k, normal(0, 2, 2, 4), normal(1, 3, 1, 4), normal(2, 2, 1, 4), {
        spans: new Int32Array(0),
        sees: "past",
      }),
    /v of attention has shape \(2,1,4\)/,
  ],
  [
    "attentionForward() heads",
    () =>
      attentionForward(k, normal(0, 2, 3, 4), normal(1, 2, 2, 4), normal(2, 2, 2, 4), {
        spans: new Int32Array(0),
        sees: "past",
      }),
    /q of attention has 3 heads, expected a multiple of the 2 of k/,
  ],
  [
    "attentionBackward() dO",
    () => {
      const [q, keys] = [normal(0, 2, 2, 4), normal(1, 2, 1, 4)];
      const options = { spans: selfSpans(Int32Array.of(0, 2)), sees: "past" } as const;
      const { residuals } = attentionForward(k, q, keys, keys, options);
      return attentionBackward(k, residuals, normal(2, 2, 2, 3), options);
    },
    /dO of attention has shape \(2,2,3\)/,
  ],
  [
    "activationForward() up",
    () => activationForward(k, { x: normal(0, 2, 3), up: normal(1, 3, 2) }, "silu"),
    /up of silu/,
  ],
  [
    "activationBackward() dy",
    () => activationBackward(k, { x: normal(0, 2), up: normal(1, 2) }, "gelu", normal(2, 3)),
    /dy of gelu has shape \(3\)/,
  ],
  ["addInto() x", () => addInto(k, normal(0, 2), normal(1, 3)), /x of add has shape \(3\), expected \(2\)/],
  [
    "headLossForward() hidden",
    () => headLossForward(k, normal(0, 2, 3), weight(1, 5, 3), Int32Array.of(1)),
    /hidden of the loss has shape \(2,3\), expected \(T,D\) = \(1,3\)/,
  ],
  [
    "headLossForward() target",
    () => headLossForward(k, normal(0, 1, 3), weight(1, 5, 3), Int32Array.of(5)),
    /targets\[0\] is 5, expected below 5/,
  ],
];

for (const [what, call, message] of refused) {
  Deno.test(`${what} of a wrong size is refused by name`, () => {
    assert.throws(call, (error: Error) => error instanceof RangeError && message.test(error.message));
  });
}

Deno.test("selfSpans() lets every sequence see itself, also an empty one", () => {
  assertSame([...selfSpans(Int32Array.of(0, 2, 2, 5))], [0, 2, 0, 2, 2, 2, 2, 2, 2, 5, 2, 5]);
  assert.equal(selfSpans(new Int32Array(0)).length, 0);
});

Deno.test("crossSpans() lets every sequence see the other of its number, and wants as many of both", () => {
  assertSame([...crossSpans(Int32Array.of(0, 2, 2), Int32Array.of(1, 4, 9))], [0, 2, 1, 4, 2, 2, 4, 9]);
  assert.throws(
    () => crossSpans(Int32Array.of(0, 2), Int32Array.of(0)),
    new RangeError("keyStarts has 1 elements, expected the 2 of queryStarts"),
  );
});

Deno.test("headLossForwardBackward() gives the same bits whatever the chunk, and the sum of the counted rows", () => {
  const hidden = normal(0, 9, 4);
  const targets = Int32Array.of(1, -1, 4, 0, -1, -1, 6, 6, 2);
  const run = (chunkRows: number) => {
    const head = weight(1, 7, 4, true);
    const { lossSum, count, losses, dhidden } = now(
      headLossForwardBackward(k, hidden, head, targets, { scale: 0.5, chunkRows }),
    );
    return {
      lossSum,
      count,
      losses: losses.slice(),
      dhidden: dhidden.data.slice(),
      dhead: head.grad as Float64Array,
    };
  };
  const whole = run(100);
  assert.equal(whole.count, 6);
  for (const chunkRows of [1, 2, 4, 6]) {
    const chunked = run(chunkRows);
    assert.equal(chunked.lossSum, whole.lossSum);
    assertSameBits("losses", chunked.losses, whole.losses);
    assertSameBits("dhidden", chunked.dhidden, whole.dhidden);
    assertSameBits("dhead", chunked.dhead, whole.dhead);
  }
  const lossOnly = now(headLossForward(k, hidden, weight(1, 7, 4), targets, { chunkRows: 4 }));
  assertSameBits("losses without gradient", lossOnly.losses, whole.losses);
  for (const t of [1, 4, 5]) {
    assert.equal(whole.losses[t], 0);
    assertSameBits(`dhidden of row ${t}`, whole.dhidden.subarray(4 * t, 4 * t + 4), [0, 0, 0, 0]);
  }
});

Deno.test("headLossForwardBackward() of no counted row is a loss of 0 and gradients of 0", () => {
  const head = weight(1, 7, 4, true);
  const targets = Int32Array.of(-1, -1);
  const { lossSum, count, dhidden } = now(
    headLossForwardBackward(k, normal(0, 2, 4), head, targets, { scale: 1 }),
  );
  assert.deepEqual([lossSum, count], [0, 0]);
  assertSameBits("dhidden", dhidden.data, new Float64Array(8));
  assertSameBits("dhead", head.grad as Float64Array, new Float64Array(28));
});

Deno.test("headLossForwardBackward() gives back the logits it took from the arena", () => {
  const own = referenceKernels();
  const hidden = normal(0, 6, 4);
  const targets = Int32Array.of(0, 1, 2, 3, 4, 5);
  const before = own.arena.usedBytes;
  headLossForwardBackward(own, hidden, weight(1, 700, 4), targets, { scale: 1, chunkRows: 2 });
  const after = own.arena.usedBytes;
  assert.ok(after - before <= 2 * 256 + 64, `${after - before} bytes kept`);
});

Deno.test("lossChunkRows() fits the byte budget and takes at least one row", () => {
  assert.equal(lossChunkRows(k, 1000, { chunkBytes: 80_000 }), 10);
  assert.equal(lossChunkRows(k, 1000, { chunkBytes: 10 }), 1);
  assert.equal(lossChunkRows(k, 1000, { chunkBytes: 10, chunkRows: 3 }), 3);
  assert.throws(() => lossChunkRows(k, 1000, { chunkRows: 0 }), /chunkRows is 0/);
});
