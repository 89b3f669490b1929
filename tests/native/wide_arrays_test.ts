// SPDX-License-Identifier: Apache-2.0
/** Elements beyond the reach of 32 bits: arrays of more than 2^31 elements, of which a call touches two rows. */
import assert from "node:assert/strict";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import * as calls from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { writeAdamwParams, writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_ADAM_LAZY_EXACT, MEFT_BF16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { assertSameBits, assertWithin } from "../compare.ts";

/** So many columns that row 2,048 is the first beyond 2^31 elements. */
const COLS = 2 ** 20, ROWS = 2 ** 11 + 2;
/** What is touched: a row beyond, and one that a count cut to 32 bits would hit instead. */
const TOUCHED = Int32Array.of(ROWS - 1, 1);
/** Elements at the begin of a row that are not 0. */
const SOME = 70;

type Wide = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Int16Array<ArrayBuffer>;

/** Runs `body` with arrays of ROWS x COLS zeros, which take no memory before they are touched, if they can be had. */
function onWide<Arrays extends Wide[]>(make: () => [...Arrays], body: (...arrays: Arrays) => void): void {
  let arrays: [...Arrays];
  try {
    arrays = make();
  } catch (error) {
    if (error instanceof RangeError) return; // a limit on addresses
    throw error;
  }
  body(...arrays);
}

const floats = () => new Float32Array(ROWS * COLS);
const numbers = (seed: number) => Float32Array.from({ length: SOME }, (_, i) => Math.sin(seed + i));
/** The begin of row `row`. */
const begin = <A extends Wide>(array: A, row: number, count = SOME): A =>
  array.subarray(row * COLS, row * COLS + count) as A;

Deno.test("rowsGather() and rowsAdd() find rows beyond element 2^31", () => {
  using lane = new NativeContext();
  onWide(() => [new Uint16Array(ROWS * COLS), floats()], (hi, to) => {
    const [out, from] = [new Uint16Array(2 * COLS), new Float32Array(2 * COLS)];
    TOUCHED.forEach((row, i) => {
      begin(hi, row).fill(0x3f80 + i);
      begin(to, row).set(numbers(i));
      begin(from, i).fill(i + 1);
    });
    calls.rowsGather(lane, out, hi, null, TOUCHED, 2, ROWS, COLS, MEFT_BF16);
    calls.rowsAdd(lane, to, from, TOUCHED, 2, ROWS, COLS, ROWS);
    TOUCHED.forEach((row, i) => {
      assertSameBits("gathered", begin(out, i), new Uint16Array(SOME).fill(0x3f80 + i));
      assertSameBits("added", begin(to, row), numbers(i).map((x) => x + i + 1));
    });
  });
});

Deno.test("embeddingForward() and embeddingBackward() find ids beyond element 2^31", () => {
  using lane = new NativeContext();
  onWide(() => [floats()], (table) => {
    TOUCHED.forEach((row, i) => begin(table, row).set(numbers(i)));
    const descriptor = {
      dtype: MEFT_F32,
      rows: ROWS,
      cols: COLS,
      rowStride: COLS,
      handle: 0,
      offsetBytes: 0,
    };
    const y = new Float32Array(2 * COLS);
    const data = new Uint8Array(table.buffer);
    calls.embeddingForward(lane, y, TOUCHED, data, writeWeightParams(descriptor), 2, 0);
    calls.embeddingBackward(lane, table, TOUCHED, y, 2, ROWS, COLS);
    TOUCHED.forEach((row, i) => {
      assertSameBits("y", begin(y, i), numbers(i));
      assertSameBits("dweight", begin(table, row), numbers(i).map((x) => 2 * x));
    });
  });
});

Deno.test("linearForward() and linearBackwardData() find rows of a weight beyond element 2^31", () => {
  using lane = new NativeContext();
  onWide(() => [floats()], (table) => {
    TOUCHED.forEach((row, i) => begin(table, row).set(numbers(i)));
    // The same rows, of which the first few columns are the weight's.
    const w = { dtype: MEFT_F32, rows: ROWS, cols: SOME, rowStride: COLS, handle: 0, offsetBytes: 0 };
    const data = new Uint8Array(table.buffer);
    for (const tokens of [1, 20, 40]) { // each way of a product
      const x = Float32Array.from({ length: tokens * SOME }, (_, i) => Math.cos(i));
      const [y, dx] = [new Float32Array(tokens * ROWS), new Float32Array(tokens * SOME)];
      const descriptor = writeWeightParams(w);
      calls.linearForward(lane, y, x, data, descriptor, null, null, tokens, MEFT_F32, MEFT_F32, MEFT_F32, 0);
      calls.linearBackwardData(lane, dx, y, data, descriptor, tokens, MEFT_F32, MEFT_F32, MEFT_F32, 0);
      for (let t = 0; t < tokens; t++) {
        const dots = [...TOUCHED].map((_, i) =>
          numbers(i).reduce((sum, value, c) => sum + value * x[t * SOME + c]!, 0)
        );
        const row = Array.from({ length: ROWS }, (_, r) => dots[TOUCHED.indexOf(r)] ?? 0);
        assertWithin("y", y.subarray(t * ROWS, (t + 1) * ROWS), row, 1e-4);
        const expected = Array.from(
          { length: SOME },
          (_, c) => dots[0]! * numbers(0)[c]! + dots[1]! * numbers(1)[c]!,
        );
        assertWithin("dx", dx.subarray(t * SOME, (t + 1) * SOME), expected, 1e-3);
      }
    }
  });
});

Deno.test("ropeApply() reads rows of its tables beyond element 2^31", () => {
  using lane = new NativeContext();
  onWide(() => [floats(), floats()], (cos, sin) => {
    TOUCHED.forEach((row, i) => [begin(cos, row).set(numbers(i)), begin(sin, row).set(numbers(i + 9))]);
    const x = new Float32Array(2 * 2 * COLS);
    for (const t of [0, 1]) x.fill(1, 2 * t * COLS, (2 * t + 1) * COLS);
    calls.ropeApply(lane, x, cos, sin, TOUCHED, 2, 1, 2 * COLS, 2 * COLS, ROWS, MEFT_F32, 0);
    for (const t of [0, 1]) {
      assertSameBits("first halves", begin(x, 2 * t), numbers(t));
      assertSameBits("second halves", begin(x, 2 * t + 1), numbers(t + 9));
    }
  });
});

Deno.test("adamwRows() and adamwRowsCatchUp() step rows beyond element 2^31", () => {
  using lane = new NativeContext();
  onWide(
    () => [new Uint16Array(ROWS * COLS), new Int16Array(ROWS * COLS), floats(), floats()],
    (hi, lo, m, v) => {
      const lastStep = new Int32Array(ROWS),
        grad = new Float32Array(2 * COLS),
        lr = Float32Array.of(0.5, 0.25);
      TOUCHED.forEach((_, i) => begin(grad, i).set(numbers(i)));
      const hyper = {
        mode: MEFT_ADAM_LAZY_EXACT,
        beta1: 0.5,
        beta2: 0.75,
        eps: 1,
        weightDecay: 0,
        gradScale: 1,
      };
      const step = (t: number) => writeAdamwParams({ ...hyper, step: t });
      calls.adamwRows(lane, hi, lo, m, v, lastStep, grad, TOUCHED, lr, 2, ROWS, COLS, step(1));
      calls.adamwRowsCatchUp(
        lane,
        hi,
        lo,
        m,
        v,
        lastStep,
        Int32Array.of(ROWS - 1),
        lr,
        1,
        1,
        COLS,
        1,
        step(2),
      );
      const k = referenceKernels();
      TOUCHED.forEach((row, i) => {
        const expected = { w: new Float64Array(SOME), m: new Float64Array(SOME), v: new Float64Array(SOME) };
        for (let t = 1; t <= (i === 0 ? 2 : 1); t++) {
          const g = t === 1 ? Float64Array.from(numbers(i)) : new Float64Array(SOME);
          k.adamwDense(expected.w, expected.m, expected.v, g, {
            ...hyper,
            step: t,
            lrHistory: lr.subarray(0, t),
          });
        }
        const w = new Float32Array(SOME);
        calls.planesJoin(lane, w, begin(hi, row), begin(lo, row), SOME);
        assertWithin("w", w, expected.w, 1e-6);
        assertWithin("m", begin(m, row), expected.m, 1e-6);
        assertWithin("v", begin(v, row), expected.v, 1e-6);
        assert.equal(lastStep[row], i === 0 ? 2 : 1);
      });
    },
  );
});
