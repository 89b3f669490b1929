// SPDX-License-Identifier: Apache-2.0
/** What every backend gives where an oracle in f64 says nothing: NaN and masks, orders of sums, bits of planes. */
import assert from "node:assert/strict";
import { bf16ToFloat, f16ToFloat } from "../../lib/core/half.ts";
import type { NormCall } from "../../lib/ops/kernels/model.ts";
import type { Weight } from "../../lib/tensor/tensor.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertSame, assertSameBits, assertWithin, EPS_F32 } from "../compare.ts";
import { onEveryBackend } from "./agreement.ts";
import { backends, deviceRowBackends } from "./backends.ts";
import { createStage } from "./stage.ts";
import { now } from "../now.ts";

const PROCESSORS = backends();

/** A weight of ones. */
function unit(cols: number): Weight {
  const data = new Float32Array(cols).fill(1);
  return { name: "ones", dtype: "f32", rows: 1, cols, data, mapped: null, grad: null };
}

/** A root-mean-square norm with this weight. */
function rms(weight: Weight): NormCall {
  return { kind: "rms", weight, bias: null, eps: 1e-6, unitOffset: false };
}

function valuesOf({ dtype, data }: Weight): number[] {
  const read = dtype === "bf16" ? bf16ToFloat : dtype === "f16" ? f16ToFloat : Number;
  return Array.from(data ?? [], read);
}

Deno.test("activationForward() of gated silu lets NaN through and stays finite for large gates", () =>
  onEveryBackend((stage) => {
    const y = stage.output(4);
    stage.k.activationForward(y, stage.values([NaN, 1e30, -1e30, 1]), stage.values([1, 1, 1, NaN]), "silu");
    return { y };
  }, ({ y }) => assert.deepEqual([...y!], [NaN, Math.fround(1e30), -0, NaN])));

Deno.test("normForward() keeps a NaN inside its row", () =>
  onEveryBackend((stage) => {
    const x = [...now(stage.k.read(stage.normal("x", 3 * 19)))].with(19 + 18, NaN);
    const [y, rstd] = [stage.output(3 * 19), stage.output(3)];
    stage.k.normForward(y, rstd, stage.values(x), rms(stage.weight("w", 1, 19, "f32")), 3);
    return { y };
  }, ({ y }) => y!.forEach((value, i) => assert.equal(Number.isNaN(value), i >= 19 && i < 38, `y[${i}]`))));

for (const dtype of ["f32", "bf16", "f16"] as const) {
  Deno.test(`normForward() multiplies by a weight of ${dtype}`, async () => {
    const run = (stage: ReturnType<typeof createStage>) => {
      const [y, rstd] = [stage.output(5 * 33), stage.output(5)];
      const w = stage.weight("w", 1, 33, dtype);
      stage.k.normForward(y, rstd, stage.normal("x", 5 * 33), rms(w), 5);
      const ones = stage.output(5 * 33);
      stage.k.normForward(ones, rstd, stage.normal("x", 5 * 33), rms(unit(w.cols)), 5);
      return { y, ones, w: Float32Array.from(valuesOf(w)) };
    };
    await onEveryBackend(
      run,
      ({ y, ones, w }) =>
        assertWithin(
          "y",
          y!,
          ones!.map((value, i) => value * (w![i % 33] as number)),
          y!.map((x) => 2 * EPS_F32 * Math.abs(x)),
        ),
    );
  });
}

Deno.test("crossEntropy() is safe with large logits, masked logits and NaN", () => {
  const vocabulary = 19;
  const rows = [
    Array(vocabulary).fill(3e38), // would overflow unless the largest is taken off
    Array(vocabulary).fill(-Infinity).with(4, 2), // everything masked but the target: certain
    Array(vocabulary).fill(0).with(18, -Infinity), // a masked target: infinite loss
    Array(vocabulary).fill(1).with(17, NaN),
  ];
  return onEveryBackend((stage) => {
    const [loss, logits] = [stage.output(4), stage.values(rows.flat())];
    stage.k.crossEntropy(loss, logits, Int32Array.of(0, 4, 18, 2), vocabulary, 1);
    return { loss, logits };
  }, ({ loss, logits }) => {
    assertWithin("loss", loss!.subarray(0, 2), [Math.log(vocabulary), 0], 6 * EPS_F32);
    assert.deepEqual([...loss!.subarray(2)], [Infinity, NaN]);
    assertWithin("certain row", logits!.subarray(19, 38), Array(19).fill(0), 0);
    assert.ok(logits!.subarray(57).every(Number.isNaN));
  });
});

Deno.test("crossEntropy() gradient matches central differences of its loss", () => {
  const [vocabulary, h] = [7, 2 ** -8];
  return onEveryBackend(
    (stage) => {
      const logits = [...now(stage.k.read(stage.normal("logits", vocabulary)))];
      const lossAt = (i: number, change: number): number => {
        const loss = stage.output(1);
        const moved = stage.values(logits.with(i, (logits[i] as number) + change));
        stage.k.crossEntropy(loss, moved, Int32Array.of(3), vocabulary, 0);
        return now(stage.k.read(loss))[0] as number;
      };
      const differences = Float32Array.from(logits, (_, i) => (lossAt(i, h) - lossAt(i, -h)) / (2 * h));
      const gradient = stage.values(logits);
      stage.k.crossEntropy(stage.output(1), gradient, Int32Array.of(3), vocabulary, 1);
      return { gradient, differences };
      // Third derivative below 1/6 times h^2, and the loss's rounding over 2h.
    },
    ({ gradient, differences }) =>
      assertWithin("gradient", gradient!, differences!, h * h / 6 + 4 * EPS_F32 / h),
  );
});

for (const tokens of [3, 40, 200]) { // each way of a product
  Deno.test(`a NaN or an infinity reaches exactly the outputs of a linear layer that read it, of ${tokens} tokens`, () => {
    const [rows, cols] = [35, 83];
    return onEveryBackend(async (stage) => {
      const x = Float64Array.from(await stage.k.read(stage.normal("x", tokens * cols)));
      x[2 * cols + 82] = NaN;
      x[1 * cols + 5] = Infinity;
      const y = stage.output(tokens * rows);
      stage.k.linearForward(y, stage.values(x), stage.weight("w", rows, cols, "bf16"), null, tokens, false);
      return { y };
    }, ({ y }) =>
      y!.forEach((value, i) => {
        const t = Math.floor(i / rows);
        const isExpected = t === 2 ? Number.isNaN(value) : Number.isFinite(value) === (t !== 1);
        assert.ok(isExpected, `y[${t}][${i % rows}] is ${value}`);
      }));
  });
}

/** [tokens, vocabulary, hidden]; the last is shared between threads. */
const SHAPES = [[2, 1, 1], [3, 7, 15], [5, 2, 16], [7, 31, 17], [13, 11, 67], [301, 97, 521]] as const;

Deno.test("embeddingBackward() adds in increasing order of tokens, bit for bit", async () => {
  for (const [tokens, vocabulary, hidden] of SHAPES) {
    // Ids that come again and again, the first and last row among them.
    const ids = Int32Array.from(
      { length: tokens },
      (_, t) => t === 0 ? vocabulary - 1 : (t * t + 3 * t - 4) % vocabulary,
    );
    await onEveryBackend((stage) => {
      const [dweight, dy] = [
        stage.normal("dweight", vocabulary * hidden),
        stage.normal("dy", tokens * hidden),
      ];
      const expected = Float32Array.from(now(stage.k.read(dweight)));
      const terms = now(stage.k.read(dy));
      ids.forEach((id, t) => {
        for (let d = 0; d < hidden; d++) {
          expected[id * hidden + d] = (expected[id * hidden + d] as number) +
            (terms[t * hidden + d] as number);
        }
      });
      stage.k.embeddingBackward(dweight, ids, dy, vocabulary, hidden);
      return { dweight, expected };
    }, ({ dweight, expected }) => assertSameBits("dweight", dweight!, expected!));
  }
});

// Zeros, subnormals, 1 and its neighbours, halves of a bf16 step, the largest numbers, infinities.
const NUMBERS = [0, 1, 0x7fff, 0x8000, 0x007fffff, 0x3f800000, 0x3f807fff, 0x3f808000, 0x3f808001, 0x3f818000]
  .concat([0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0x7f800000])
  .flatMap((bits) => [bits, (bits | 0x80000000) >>> 0]);
const NANS = [0x7fc00000, 0xffc00000, 0x7f800001, 0x7fff8000, 0xffffffff, 0x7fffffff, 0xff800001];

/** Floats of given bits, repeated so that they meet every lane of a vector and the rest behind it. */
function fromBits(bits: readonly number[], times: number): Float32Array {
  const all = Uint32Array.from({ length: bits.length * times }, (_, i) => bits[i % bits.length] as number);
  return new Float32Array(all.buffer);
}

Deno.test("row matrices keep every number bit for bit, their high halves rounded to bf16, halves up in magnitude", async () => {
  const drawn = createStage(referenceKernels()).hostNormal("x", 40_007);
  for (
    const x of [fromBits(NUMBERS, 5), Float32Array.from(drawn), new Float32Array(0), Float32Array.of(-2.5)]
  ) {
    const bits = new Uint32Array(x.slice().buffer);
    await onEveryBackend((stage) => {
      const matrix = stage.k.rowMatrix(1, x.length), joined = stage.hostOutput(x.length);
      stage.k.rowMatrixWrite(matrix, x, 0);
      stage.k.rowMatrixRead(joined, matrix, 0);
      return { high: Int32Array.from(matrix.hi), joined };
    }, ({ high, joined }) => {
      assertSameBits("high", high!, Int32Array.from(bits, (value) => ((value + 0x8000) & 0xffffffff) >>> 16));
      assertSame(new Uint32Array((joined as Float32Array).slice().buffer), bits);
    }, PROCESSORS);
  }
});

Deno.test("row matrices store every NaN as a NaN that its high half alone shows", () =>
  onEveryBackend((stage) => {
    const x = fromBits(NANS, 7), matrix = stage.k.rowMatrix(1, x.length);
    stage.k.rowMatrixWrite(matrix, x, 0);
    return { high: Int32Array.from(matrix.hi), low: Int32Array.from(matrix.lo) };
  }, ({ high, low }) => {
    assert.ok(high!.every((value) => value === 0x7fc0) && low!.every((value) => value === 0));
  }, PROCESSORS));

Deno.test("rowsGather() gives the high halves of rows bit for bit", async () => {
  const rows = Int32Array.of(10, 0, 7, 3);
  for (const cols of [1, 7, 16, 33, 257]) {
    await onEveryBackend(
      async (stage) => {
        const drawn = Float32Array.from(
          { length: 11 * cols },
          (_, i) => Math.sin(i + 1) * 2 ** (i % 40 - 20),
        );
        const matrix = stage.rowMatrixOf(drawn, 11, cols);
        // Guarded by what stands behind the last element.
        const all = new Uint16Array(rows.length * cols + 1).fill(7);
        await stage.k.rowsGather(all.subarray(0, -1), matrix, rows);
        const expected = [...rows].flatMap((row) => [...matrix.hi.subarray(row * cols, (row + 1) * cols)]);
        return { halves: Int32Array.from(all), expected: Int32Array.from([...expected, 7]) };
      },
      ({ halves, expected }) => assertSameBits("halves", halves!, expected!),
      [
        ...backends(),
        ...deviceRowBackends(),
      ],
    );
  }
});
