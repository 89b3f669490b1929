// SPDX-License-Identifier: Apache-2.0
/** How rows travel to their slots, on kernels that only say what they were asked for. */
import assert from "node:assert/strict";
import { createRowSlots } from "../../../../lib/adapters/sparse/row_slots.ts";
import { assertSame } from "../../../compare.ts";
import { directLink } from "../../../../lib/ops/host_link.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import type { RowGradients } from "../../../../lib/ops/kernels/rows.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { createRowGradients } from "../../../../lib/ops/row_gradients.ts";
import type { SparseParams } from "../../../../lib/ops/sparse.ts";
import type { RowMatrix } from "../../../../lib/tensor/tensor.ts";

/** Rows that travel, of which each array says its name. */
function sayingKernels(): { k: Kernels; log: string[] } {
  const log: string[] = [];
  const names = new Map<RowMatrix, string>();
  const k: Kernels = {
    ...referenceKernels(),
    link: directLink(),
    floats: () => new Float64Array(0),
    modelFloats: () => new Float64Array(0),
    rowMatrix: (rows, cols) => {
      const matrix = { rows, cols, hi: new Uint16Array(0), lo: new Int16Array(0), full: new Float64Array(0) };
      names.set(matrix, ["keys", "values"][names.size]!);
      return matrix;
    },
    rowsGather: (_out, matrix, rows) => void log.push(`${names.get(matrix)} ${rows}`),
    rowsAdd: (_to, _from, places, cols, firstNew) =>
      void log.push(`add ${places} of ${cols} from ${firstNew}`),
    sparseTouch: (gradients: RowGradients, rows: Int32Array, count: number) => {
      for (const row of rows.subarray(0, count)) {
        if (gradients.slots[row] !== -1) continue;
        gradients.rows[gradients.rowCount] = row;
        gradients.slots[row] = gradients.rowCount++;
      }
    },
  };
  return { k, log };
}

function paramsOf(k: Kernels, rows: number, cols: number): SparseParams {
  return {
    gateWeight: new Float64Array(0),
    gateGrad: null,
    keys: k.rowMatrix(rows, cols),
    values: k.rowMatrix(rows, cols),
    gradients: createRowGradients(k, rows, cols, { keys: true }),
  };
}

/** Of f64 rows, two fill the 16 MiB that travel at once. */
const WIDE = 1 << 20;

Deno.test("rows travel in pieces of at most 16 MiB, none left out, none twice", async () => {
  const { k, log } = sayingKernels();
  const params = paramsOf(k, 9, WIDE);
  const slots = createRowSlots(k, params, 6);
  const taken = await slots.bring(Int32Array.of(1, 2, 4, 5, 7));
  assert.deepEqual([...taken.slots], [0, 1, 2, 3, 4]);
  assert.deepEqual(log.splice(0), ["keys 1,2", "values 1,2", "keys 4,5", "values 4,5", "keys 7", "values 7"]);
  slots.touch(Int32Array.of(0, 2, 3, 4)); // 1 stays clean
  await slots.collect();
  // Places by increasing row; a gap between slots ends a piece.
  assert.deepEqual(log.splice(0), [
    ...["add 0 of", "add 0 of", "add 1,2 of", "add 1,2 of", "add 3 of", "add 3 of"].map((text) =>
      `${text} ${WIDE} from 0`
    ),
  ]);
  assert.deepEqual([...params.gradients.rows.subarray(0, 4)], [1, 4, 5, 7]);
});

Deno.test("a row that loses its slot leaves its gradient before another is brought, and only when it has one", async () => {
  const { k, log } = sayingKernels();
  const params = paramsOf(k, 9, 2);
  const slots = createRowSlots(k, params, 2);
  await slots.bring(Int32Array.of(3, 4));
  slots.touch(Int32Array.of(1));
  log.length = 0;
  assert.deepEqual([...(await slots.bring(Int32Array.of(6, 8))).slots], [0, 1]);
  assert.deepEqual(log.splice(0), ["add 0 of 2 from 0", "add 0 of 2 from 0", "keys 6,8", "values 6,8"]);
  assert.deepEqual([...params.gradients.rows.subarray(0, params.gradients.rowCount)], [4]);
  const { hits, misses, evictions } = slots.traffic;
  assert.deepEqual([hits, misses, evictions], [0, 4, 2]);
  // What was brought last has no gradient yet.
  await slots.collect();
  assert.deepEqual(log, []);
  // Rows have changed since: they are brought again, and there is no room that is not free.
  await slots.bring(Int32Array.of(6, 8));
  assert.deepEqual(log.splice(0), ["keys 6,8", "values 6,8"]);
  assert.equal(slots.traffic.evictions, 2);
});

Deno.test("gradients find their places by increasing row, whatever slots they lay in, and there is made room for them", async () => {
  const k = referenceKernels();
  const [rows, cols] = [9, 2];
  for (const keys of [true, false]) {
    const params: SparseParams = {
      gateWeight: new Float64Array(0),
      gateGrad: null,
      keys: k.rowMatrix(rows, cols),
      values: k.rowMatrix(rows, cols),
      gradients: createRowGradients(k, rows, cols, { keys }), // no room yet
    };
    params.keys.full!.forEach((_, i, all) => all[i] = i);
    params.values.full!.forEach((_, i, all) => all[i] = 100 + i);
    const slots = createRowSlots(k, params, 4);
    for (const step of [1, 2]) {
      assert.deepEqual([...(await slots.bring(Int32Array.of(7, 8))).slots], [0, 1]);
      assert.deepEqual([...(await slots.bring(Int32Array.of(3, 8))).slots], [2, 1]);
      const { keys: ofKeys, values: ofValues } = slots.matrices();
      assert.deepEqual([ofKeys.rows, ofKeys.cols, ofValues.rows, ofValues.cols], [3, cols, 3, cols]);
      assertSame([...ofKeys.data!], [14, 15, 16, 17, 6, 7]);
      assertSame([...ofValues.data!], [114, 115, 116, 117, 106, 107]);
      assert.equal(ofKeys.grad === null, !keys);
      assert.ok(ofValues.grad!.every((x) => x === 0));
      slots.touch(Int32Array.of(0, 1, 2));
      ofKeys.grad?.set([1, 2, 3, 4, 5, 6]);
      ofValues.grad!.set([10, 20, 30, 40, 50, 60]);
      await slots.collect();
      const { rowCount, rows: order, keys: keyGradients, values } = params.gradients;
      assertSame([...order.subarray(0, rowCount)], [3, 7, 8]);
      // Added to what a step has gathered so far.
      const times = (numbers: number[]) => numbers.map((x) => step * x);
      assertSame([...values.subarray(0, 6)], times([50, 60, 10, 20, 30, 40]));
      if (keys) assertSame([...keyGradients!.subarray(0, 6)], times([5, 6, 1, 2, 3, 4]));
      else assert.equal(keyGradients, null);
    }
    slots.release();
    assert.equal(k.ledger.held.get("cache"), 0);
  }
});
