// SPDX-License-Identifier: Apache-2.0
/** meft_embedding_*: rows of a table that lie apart, and ids outside of it. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { bf16ToFloat, f16ToFloat, floatToBf16, floatToF16 } from "../../lib/core/half.ts";
import { embeddingBackward, embeddingForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_BF16, MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { bitsOf, guarded, normals, onEveryTarget } from "./kernel_check.ts";

/** [tokens, vocabulary, hidden]; the last is shared between threads. */
const SHAPES = [[0, 3, 5], [2, 1, 0], [1, 1, 1], [3, 7, 15], [5, 2, 16], [7, 31, 17], [13, 11, 67], [
  301,
  97,
  521,
]] as const;

/** Ids that come again and again, the first and last row among them. */
function someIds(tokens: number, vocabulary: number): Int32Array {
  return Int32Array.from(
    { length: tokens },
    (_, t) => t === 0 ? vocabulary - 1 : (t * t + 3 * t - 4) % vocabulary,
  );
}

function table(dtype: number, rows: number, cols: number) {
  const values = normals(rows * cols, 1);
  const stride = cols + 1;
  const data = dtype === MEFT_F32 ? new Float32Array(rows * stride) : new Uint16Array(rows * stride);
  const toStored = dtype === MEFT_F32 ? (x: number) => x : dtype === MEFT_BF16 ? floatToBf16 : floatToF16;
  const toFloat = dtype === MEFT_F32 ? (x: number) => x : dtype === MEFT_BF16 ? bf16ToFloat : f16ToFloat;
  for (let i = 0; i < values.length; i++) {
    const stored = toStored(values[i] as number);
    data[Math.floor(i / cols) * stride + i % cols] = stored;
    values[i] = toFloat(stored);
  }
  return {
    data,
    values,
    descriptor: writeWeightParams({ dtype, rows, cols, rowStride: stride, handle: 0, offsetBytes: 0 }),
  };
}

Deno.test("embeddingForward() copies rows that lie apart, of every stored type", () => {
  for (const dtype of [MEFT_F32, MEFT_BF16, MEFT_F16]) {
    for (const [tokens, vocabulary, hidden] of SHAPES) {
      const w = table(dtype, vocabulary, hidden);
      const ids = someIds(tokens, vocabulary);
      const expected = new Float32Array(tokens * hidden);
      ids.forEach((id, t) => expected.set(w.values.subarray(id * hidden, (id + 1) * hidden), t * hidden));
      onEveryTarget((lane) => {
        const y = guarded(tokens * hidden);
        embeddingForward(lane, y, ids, w.data, w.descriptor, tokens, 0);
        return { y };
      }, ({ y }) => assertSame(bitsOf(y), bitsOf(expected)));
    }
  }
});

Deno.test("embedding calls refuse an id outside of the table and write nothing", () => {
  using lane = new NativeContext({ threads: 1 });
  const w = table(MEFT_F32, 3, 2);
  for (const bad of [-1, 3]) {
    const y = new Float32Array(4).fill(7), dweight = new Float32Array(6).fill(7);
    const ids = Int32Array.of(0, bad);
    const pattern = new RegExp(`ids\\[1\\] is ${bad}, expected 0 to 2`);
    assert.throws(() => embeddingForward(lane, y, ids, w.data, w.descriptor, 2, 0), pattern);
    assert.throws(() => embeddingBackward(lane, dweight, ids, new Float32Array(4), 2, 3, 2), pattern);
    assert.ok([...y, ...dweight].every((value) => value === 7), "output was written");
  }
});
