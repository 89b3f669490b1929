// SPDX-License-Identifier: Apache-2.0
/** meft_linear_* against f64 sums, on every target, for every stored and computed type. */
import assert from "node:assert/strict";
import { bf16ToFloat, floatToBf16 } from "../../lib/core/half.ts";
import { linearBackwardData, linearBackwardWeight, linearForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { MappedFile } from "../../lib/native/mapped_file.ts";
import { writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_BF16, MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { assertSame, assertSameBits } from "../compare.ts";
import { bitsOf, guarded, misaligned, normals, onEveryTarget } from "./kernel_check.ts";
import { check, OFFSET_BYTES, operands, oracle, testWeight } from "./linear_check.ts";

const STORED = [MEFT_F32, MEFT_BF16, MEFT_F16] as const;
const COMPUTED = [MEFT_F32, MEFT_BF16] as const;

/**
 * [tokens, rows, cols]: empty and single sizes, vector widths (4, 8, 16) and panel widths (8, 16, 64) with their
 * neighbours, the three ways of the forward pass (up to 12 tokens, up to 95 or 191, more), every cut of its loops.
 */
const SHAPES = [
  [0, 3, 5],
  [3, 0, 5],
  [3, 5, 0],
  [1, 1, 1],
  [1, 7, 33],
  [2, 13, 15],
  [3, 16, 16],
  [7, 17, 67],
  [12, 65, 130],
  [13, 3, 63],
  [16, 49, 64],
  [17, 101, 65],
  [129, 7, 31],
  [193, 63, 17],
] as const;
/** Sizes that reach a second cut of k, a second block of tokens or columns, and both threads. */
const LARGE_SHAPES = [
  [5, 211, 1031],
  [37, 31, 4201],
  [95, 53, 737],
  [203, 301, 531],
  [201, 67, 1061],
  [1061, 67, 41],
] as const;

function checkForward(
  [tokens, rows, cols]: readonly [number, number, number],
  dtype: number,
  compute: number,
  withBias: boolean,
  accumulate: boolean,
): void {
  const w = testWeight(dtype, rows, cols, 1);
  const bias = testWeight(dtype, 1, rows, 2, 0);
  const x = normals(tokens * cols, 3), before = normals(tokens * rows, 4);
  const expected = oracle(
    [tokens, rows, cols],
    operands(x, compute),
    [cols, 1],
    operands(w.values, compute),
    [1, cols],
    (t, r) => (withBias ? bias.values[r] as number : 0) + (accumulate ? before[t * rows + r] as number : 0),
  );
  onEveryTarget((lane) => {
    const y = accumulate ? misaligned(before) : guarded(tokens * rows);
    const [biasData, biasDescriptor] = withBias ? [bias.data, bias.descriptor] : [null, null];
    linearForward(
      lane,
      y,
      x,
      w.data,
      w.descriptor,
      biasData,
      biasDescriptor,
      tokens,
      MEFT_F32,
      MEFT_F32,
      compute,
      accumulate ? 1 : 0,
    );
    return { y };
  }, ({ y }, target) => {
    check(`forward ${tokens}x${rows}x${cols} dtype ${dtype} compute ${compute} ${target} y`, y, expected);
  });
}

function checkBackwardData(
  [tokens, rows, cols]: readonly [number, number, number],
  dtype: number,
  compute: number,
  accumulate: boolean,
): void {
  const w = testWeight(dtype, rows, cols, 1);
  const dy = normals(tokens * rows, 5), before = normals(tokens * cols, 6);
  const expected = oracle(
    [tokens, cols, rows],
    operands(dy, compute),
    [rows, 1],
    operands(w.values, compute),
    [cols, 1],
    (t, c) => accumulate ? before[t * cols + c] as number : 0,
  );
  onEveryTarget((lane) => {
    const dx = accumulate ? misaligned(before) : guarded(tokens * cols);
    linearBackwardData(
      lane,
      dx,
      dy,
      w.data,
      w.descriptor,
      tokens,
      MEFT_F32,
      MEFT_F32,
      compute,
      accumulate ? 1 : 0,
    );
    return { dx };
  }, ({ dx }, target) => {
    check(`backward ${tokens}x${rows}x${cols} dtype ${dtype} compute ${compute} ${target} dx`, dx, expected);
  });
}

function checkBackwardWeight(
  [tokens, rows, cols]: readonly [number, number, number],
  compute: number,
): void {
  const dy = normals(tokens * rows, 5), x = normals(tokens * cols, 3);
  const beforeWeight = normals(rows * cols, 7), beforeBias = normals(rows, 8);
  const expected = oracle(
    [rows, cols, tokens],
    operands(dy, compute),
    [1, rows],
    operands(x, compute),
    [cols, 1],
    (r, c) => beforeWeight[r * cols + c] as number,
  );
  const ones = new Float64Array(tokens).fill(1);
  const expectedBias = oracle(
    [rows, 1, tokens],
    Float64Array.from(dy),
    [1, rows],
    ones,
    [1, 1],
    (r) => beforeBias[r] as number,
  );
  onEveryTarget((lane) => {
    const dweight = misaligned(beforeWeight), dbias = misaligned(beforeBias);
    linearBackwardWeight(lane, dweight, dbias, dy, x, tokens, rows, cols, MEFT_F32, MEFT_F32, compute);
    return { dweight, dbias };
  }, ({ dweight, dbias }, target) => {
    const label = `backward ${tokens}x${rows}x${cols} compute ${compute} ${target}`;
    check(`${label} dweight`, dweight, expected);
    check(`${label} dbias`, dbias, expectedBias);
  });
}

Deno.test("linearForward() matches f64 sums for every stored type, computed type and way of blocking", () => {
  for (const dtype of STORED) {
    for (const compute of COMPUTED) {
      for (const [i, shape] of SHAPES.entries()) {
        checkForward(shape, dtype, compute, i % 2 === 0, i % 3 === 0);
      }
    }
  }
  // f32 weights for bf16 products and f16 weights convert on the way; bf16 weights are read in place.
  for (const [i, shape] of LARGE_SHAPES.entries()) {
    checkForward(shape, STORED[i % 3] ?? MEFT_F32, MEFT_BF16, i % 2 === 1, i % 2 === 0);
    checkForward(shape, STORED[(i + 1) % 3] ?? MEFT_F32, MEFT_F32, i % 2 === 0, false);
  }
});

Deno.test("linearBackwardData() matches f64 sums for every stored type and computed type", () => {
  for (const dtype of STORED) {
    for (const compute of COMPUTED) {
      for (const [i, shape] of SHAPES.entries()) checkBackwardData(shape, dtype, compute, i % 2 === 0);
    }
  }
  for (const [i, [tokens, rows, cols]] of LARGE_SHAPES.entries()) {
    checkBackwardData([tokens, cols, rows], STORED[i % 3] ?? MEFT_F32, MEFT_BF16, false);
    checkBackwardData([tokens, cols, rows], STORED[(i + 1) % 3] ?? MEFT_F32, MEFT_F32, true);
  }
});

Deno.test("linearBackwardData() of rows too long to be converted at once gives each token the bits it has alone", () => {
  const [tokens, rows, cols, few] = [1058, 8507, 3, 5];
  const w = testWeight(MEFT_BF16, rows, cols, 1);
  const dy = normals(tokens * rows, 2);
  using lane = new NativeContext();
  const product = (count: number): Float32Array => {
    const dx = new Float32Array(count * cols);
    linearBackwardData(lane, dx, dy, w.data, w.descriptor, count, MEFT_F32, MEFT_F32, MEFT_BF16, 0);
    return dx;
  };
  assertSame(bitsOf(product(tokens).subarray(0, few * cols)), bitsOf(product(few)));
});

Deno.test("linearBackwardWeight() adds to dweight and dbias what f64 sums add", () => {
  for (const compute of COMPUTED) {
    for (const shape of SHAPES) checkBackwardWeight(shape, compute);
    checkBackwardWeight([1061, 67, 41], compute);
    checkBackwardWeight([2085, 131, 67], compute);
    checkBackwardWeight([20, 700, 4], compute); // tall and narrow, of more rows than a task takes
  }
});

Deno.test("linearBackwardWeight() leaves out dbias when it is null", () => {
  onEveryTarget((lane) => {
    const dweight = misaligned([1, 2]);
    linearBackwardWeight(
      lane,
      dweight,
      null,
      misaligned([3]),
      misaligned([4, 5]),
      1,
      1,
      2,
      MEFT_F32,
      MEFT_F32,
      MEFT_F32,
    );
    return { dweight };
  }, ({ dweight }) => assert.deepEqual([...dweight], [13, 17]));
});

Deno.test("a NaN or an infinity in the input of a linear layer reaches exactly the outputs that read it", () => {
  const [rows, cols] = [35, 83];
  for (const tokens of [3, 40, 200]) {
    for (const compute of COMPUTED) {
      const w = testWeight(MEFT_BF16, rows, cols, 1);
      const x = normals(tokens * cols, 3);
      x[2 * cols + 82] = NaN;
      x[1 * cols + 5] = Infinity;
      onEveryTarget((lane) => {
        const y = guarded(tokens * rows);
        linearForward(lane, y, x, w.data, w.descriptor, null, null, tokens, MEFT_F32, MEFT_F32, compute, 0);
        return { y };
      }, ({ y }) => {
        for (let i = 0; i < y.length; i++) {
          const t = Math.floor(i / rows);
          const isExpected = t === 2 ? Number.isNaN(y[i]) : Number.isFinite(y[i]) === (t !== 1);
          assert.ok(isExpected, `y[${t}][${i % rows}] is ${y[i]} for ${tokens} tokens`);
        }
      });
    }
  }
});

/** What a product in bf16 starts from: nothing, a bias, or what it adds to. */
const STARTS = [[false, false], [true, false], [false, true], [true, true]] as const;

/** Both products of a shape on a lane, with results of either type that start from the same bf16 values. */
function bothProducts([tokens, rows, cols]: readonly [number, number, number], halves: boolean) {
  const w = testWeight(MEFT_BF16, rows, cols, 1), bias = testWeight(MEFT_BF16, 1, rows, 4, 0);
  const rounded = (count: number, stream: number) => Uint16Array.from(normals(count, stream), floatToBf16);
  const stored = (count: number, stream: number) => halves ? rounded(count, stream) : normals(count, stream);
  const [x, dy] = [stored(tokens * cols, 2), stored(tokens * rows, 3)];
  const starts = [rounded(tokens * rows, 5), rounded(tokens * cols, 6)] as const;
  const widened = starts.map((values) => Float32Array.from(values, bf16ToFloat));
  const from = halves ? MEFT_BF16 : MEFT_F32;
  return (lane: NativeContext, withBias: boolean, adds: boolean, to: number): ArrayLike<number>[] => {
    const [y, dx] = (to === MEFT_BF16 ? starts : widened).map((values) => values.slice()) as [
      Uint16Array<ArrayBuffer>,
      Uint16Array<ArrayBuffer>,
    ];
    const [data, descriptor] = withBias ? [bias.data, bias.descriptor] : [null, null];
    const types = [to, from, MEFT_BF16, Number(adds)] as const;
    linearForward(lane, y, x, w.data, w.descriptor, data, descriptor, tokens, ...types);
    linearBackwardData(lane, dx, dy, w.data, w.descriptor, tokens, ...types);
    return [y, dx];
  };
}

Deno.test("linearForward() and linearBackwardData() in bf16 are the f32 results rounded once, however they are cut", () => {
  // 1,057 tokens are more than share one packing of the weight: their sums are rounded in two parts.
  const shapes = [[13, 20, 7], [100, 65, 1100], [203, 300, 2111], [1057, 70, 20], [300, 1100, 64]] as const;
  for (const shape of shapes) {
    for (const halves of [false, true]) {
      const products = bothProducts(shape, halves);
      for (const [withBias, adds] of shape[0] === 13 || shape[0] === 1057 ? STARTS : STARTS.slice(0, 1)) {
        onEveryTarget((lane) => {
          const [exactY, exactDx] = products(lane, withBias, adds, MEFT_F32).map((array) =>
            Float32Array.from(array)
          );
          const [y, dx] = products(lane, withBias, adds, MEFT_BF16).map((array) => Float32Array.from(array));
          return { exactY, exactDx, y, dx } as Record<"exactY" | "exactDx" | "y" | "dx", Float32Array>;
        }, ({ exactY, exactDx, y, dx }) => {
          const label = `of ${shape}, bias ${withBias}, adds ${adds}`;
          assertSameBits(`y ${label}`, y, Uint16Array.from(exactY, floatToBf16));
          assertSameBits(`dx ${label}`, dx, Uint16Array.from(exactDx, floatToBf16));
        });
      }
    }
  }
});

Deno.test("linearForward() reads a mapped weight at an odd byte, and one that ends where the file and its page end", () => {
  const [rows, cols] = [37, 83];
  const path = Deno.makeTempFileSync();
  try {
    for (const dtype of STORED) {
      const w = testWeight(dtype, rows, cols, 1);
      const bytes = w.data.length - OFFSET_BYTES;
      const atPageEnd = 4096 - bytes % 4096;
      for (const [tokens, offsetBytes] of [2, 20, 200].flatMap((t) => [[t, 1], [t, atPageEnd]] as const)) {
        const file = new Uint8Array(offsetBytes + bytes);
        file.set(w.data.subarray(OFFSET_BYTES), offsetBytes);
        Deno.writeFileSync(path, file);
        using mapped = MappedFile.open(path);
        const [handle, rowStride] = [mapped.handle, cols + 3];
        const descriptor = writeWeightParams({ dtype, rows, cols, rowStride, handle, offsetBytes });
        const x = normals(tokens * cols, 3);
        onEveryTarget((lane) => {
          const y = guarded(tokens * rows), inMemory = guarded(tokens * rows);
          linearForward(lane, y, x, null, descriptor, null, null, tokens, MEFT_F32, MEFT_F32, MEFT_F32, 0);
          linearForward(
            lane,
            inMemory,
            x,
            w.data,
            w.descriptor,
            null,
            null,
            tokens,
            MEFT_F32,
            MEFT_F32,
            MEFT_F32,
            0,
          );
          return { y, inMemory };
        }, ({ y, inMemory }) => assertSame(bitsOf(y), bitsOf(inMemory)));
      }
    }
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("linear calls name what is wrong before they write", () => {
  const w = testWeight(MEFT_F32, 4, 6, 1), bias = testWeight(MEFT_F32, 1, 5, 2, 0);
  const y = new Float32Array(8).fill(7), x = new Float32Array(12);
  using context = new NativeContext({ threads: 1 });
  const refused = (call: (lane: NativeContext) => void, pattern: RegExp) => {
    assert.throws(() => call(context), pattern);
    assert.ok(y.every((value) => value === 7), "output was written");
  };
  refused(
    (lane) =>
      linearForward(
        lane,
        y,
        x,
        w.data,
        w.descriptor,
        bias.data,
        bias.descriptor,
        2,
        MEFT_F32,
        MEFT_F32,
        MEFT_F32,
        0,
      ),
    /bias is 1 x 5, expected 1 x 4/,
  );
  refused(
    (lane) =>
      linearForward(lane, y, x, w.data, w.descriptor, bias.data, null, 2, MEFT_F32, MEFT_F32, MEFT_F32, 0),
    /bias_desc is null/,
  );
  refused(
    (lane) => linearForward(lane, y, x, w.data, w.descriptor, null, null, 2, MEFT_F32, MEFT_F32, MEFT_F16, 0),
    /compute is 2/,
  );
  refused(
    (lane) =>
      linearForward(lane, y, null, w.data, w.descriptor, null, null, 2, MEFT_F32, MEFT_F32, MEFT_F32, 0),
    /x is null/,
  );
  refused(
    (lane) => linearBackwardData(lane, y, x, w.data, w.descriptor, -1, MEFT_F32, MEFT_F32, MEFT_F32, 0),
    /tokens is -1/,
  );
  refused(
    (lane) =>
      linearBackwardWeight(lane, y, null, x, x, 1, 2n ** 40n, 2n ** 40n, MEFT_F32, MEFT_F32, MEFT_F32),
    /more than memory can hold/,
  );
});
