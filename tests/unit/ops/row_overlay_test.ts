// SPDX-License-Identifier: Apache-2.0
/** Tables with other rows in the place of some: what a table with those rows written into it gives, forward and backward. */
import assert from "node:assert/strict";
import { randomNormal } from "../../../lib/core/rng.ts";
import { embeddingBackward, embeddingForward } from "../../../lib/ops/embedding.ts";
import { linearForward } from "../../../lib/ops/linear.ts";
import { headLossForward, headLossForwardBackward } from "../../../lib/ops/loss.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { numel, type Tensor, type Weight } from "../../../lib/tensor/tensor.ts";
import { assertSame, assertWithin } from "../../compare.ts";

let stream = 0;

function normal(...shape: number[]): Tensor & { data: Float64Array } {
  const data = new Float64Array(numel(shape));
  randomNormal(data, 23, stream++, 1);
  return { shape, data };
}

function weight(rows: number, cols: number, isTrained: boolean): Weight & { data: Float64Array } {
  const grad = isTrained ? new Float64Array(rows * cols) : null;
  return { name: "w", dtype: "f64", rows, cols, data: normal(rows, cols).data, mapped: null, grad };
}

/** A table (V,D) with rows in the place of some, and the same as one table that is trained. */
function tables(vocabulary: number, width: number, rows: readonly number[]) {
  const [base, own] = [weight(vocabulary, width, false), weight(rows.length, width, true)];
  const plain = { ...base, data: base.data.slice(), grad: new Float64Array(base.data.length) };
  rows.forEach((row, i) => plain.data.set(own.data.subarray(i * width, (i + 1) * width), row * width));
  return { overlaid: { ...base, overlay: { rows: Int32Array.from(rows), weight: own } }, own, plain };
}

function rowsOf({ grad, cols }: Weight, rows: readonly number[]): Float64Array {
  return Float64Array.from(rows.flatMap((row) => [...grad?.subarray(row * cols, (row + 1) * cols) ?? []]));
}

const CASES = [
  { vocabulary: 7, width: 5, rows: [6, 2] },
  { vocabulary: 1, width: 3, rows: [0] },
  { vocabulary: 4, width: 1, rows: [3, 0, 1, 2] },
  { vocabulary: 301, width: 3, rows: [300, 17, 4] },
] as const;

for (const { vocabulary, width, rows } of CASES) {
  Deno.test(`${rows.length} of ${vocabulary} rows replaced: embedding, outputs and loss are those of the whole table`, () => {
    const k = referenceKernels();
    const { overlaid, own, plain } = tables(vocabulary, width, rows);
    for (const count of [0, 1, 13]) {
      const ids = Int32Array.from({ length: count }, (_, t) => (t * 5) % vocabulary);
      assertSame(embeddingForward(k, ids, overlaid).data, embeddingForward(k, ids, plain).data);
      const dy = normal(count, width);
      own.grad?.fill(0);
      plain.grad.fill(0);
      embeddingBackward(k, ids, overlaid, dy);
      embeddingBackward(k, ids, plain, dy);
      assertWithin("rows", own.grad as Float64Array, rowsOf(plain, rows), 1e-12);

      const [x, bias] = [normal(count, width), weight(1, vocabulary, true)];
      for (const other of [null, bias]) {
        const found = linearForward(k, x, overlaid, { bias: other });
        assertWithin("outputs", found.data, linearForward(k, x, plain, { bias: other }).data, 1e-12);
      }
      const targets = ids.map((id, t) => t % 4 === 3 ? -1 : (id + 2) % vocabulary);
      for (const softcap of [0, 3]) {
        const plainBias = { ...bias, grad: new Float64Array(vocabulary) };
        bias.grad?.fill(0);
        own.grad?.fill(0);
        plain.grad.fill(0);
        const options = { softcap, scale: 0.25, chunkRows: 4 };
        const loss = headLossForwardBackward(k, x, overlaid, targets, { ...options, bias });
        const wanted = headLossForwardBackward(k, x, plain, targets, { ...options, bias: plainBias });
        if (loss instanceof Promise || wanted instanceof Promise) {
          throw new Error("The reference answers at once");
        }
        assertWithin("losses", loss.losses, wanted.losses, 1e-12);
        assertWithin("dhidden", loss.dhidden.data, wanted.dhidden.data, 1e-12);
        assertWithin("rows", own.grad as Float64Array, rowsOf(plain, rows), 1e-12);
        assertWithin("bias", bias.grad as Float64Array, plainBias.grad, 1e-12);
        const alone = headLossForward(k, x, overlaid, targets, { ...options, bias });
        if (alone instanceof Promise) throw new Error("The reference answers at once");
        assertSame(alone.losses, loss.losses);
      }
    }
  });
}

Deno.test("rows that are frozen have no gradient, and the arena is given back", () => {
  const k = referenceKernels();
  const { overlaid, plain } = tables(9, 4, [8, 0]);
  const frozen = {
    ...overlaid,
    overlay: { ...overlaid.overlay, weight: { ...overlaid.overlay.weight, grad: null } },
  };
  const [x, targets] = [normal(5, 4), Int32Array.of(8, 0, -1, 3, 8)];
  const mark = k.arena.mark();
  const loss = headLossForwardBackward(k, x, frozen, targets, { scale: 1 });
  const wanted = headLossForwardBackward(k, x, plain, targets, { scale: 1 });
  if (loss instanceof Promise || wanted instanceof Promise) throw new Error("The reference answers at once");
  assertWithin("dhidden", loss.dhidden.data, wanted.dhidden.data, 1e-12);
  embeddingBackward(k, Int32Array.of(8, 1), frozen, normal(2, 4));
  k.arena.release(mark);
});

Deno.test("a product with replaced rows is not added to anything", () => {
  const k = referenceKernels();
  const { overlaid } = tables(4, 3, [1]);
  assert.throws(
    () => linearForward(k, normal(2, 3), overlaid, { addTo: normal(2, 4) }),
    /Rows of "w" are replaced/,
  );
  assert.throws(
    () => embeddingForward(k, Int32Array.of(1), overlaid, { addTo: normal(1, 3) }),
    /Rows of "w" are/,
  );
});
