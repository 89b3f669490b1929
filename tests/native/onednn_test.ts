// SPDX-License-Identifier: Apache-2.0
/** oneDNN as provider of matrix products: the same sums as our own kernels, where it is installed. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { linearBackwardData, linearBackwardWeight, linearForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { MEFT_BF16, MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { misaligned, normals } from "./kernel_check.ts";
import { check, operands, oracle, testWeight } from "./linear_check.ts";

const providers = buildInfo(openLibrary()).gemm;
const ignore = !providers.includes("onednn");
const SHAPES = [[1, 1, 1], [3, 17, 65], [33, 64, 31], [65, 129, 300]] as const;
const TYPES = [[MEFT_F32, MEFT_F32], [MEFT_BF16, MEFT_BF16], [MEFT_F32, MEFT_BF16], [
  MEFT_BF16,
  MEFT_F32,
]] as const;

/** Runs `body` on a lane of oneDNN, in which no kernel of ours runs but those for the bias. */
function onOnednn(body: (lane: NativeContext) => void, ranTarget = "auto"): void {
  using lane = new NativeContext({ gemm: "onednn" });
  body(lane);
  assert.equal(lane.info().ranTarget, ranTarget, "who computed");
}

Deno.test({
  name: "linearForward() by oneDNN matches f64 sums, bias and accumulation included",
  ignore,
  fn() {
    for (const [dtype, compute] of TYPES) {
      for (const [tokens, rows, cols] of SHAPES) {
        const w = testWeight(dtype, rows, cols, 1), bias = testWeight(dtype, 1, rows, 2, 0);
        const x = normals(tokens * cols, 3), y = normals(tokens * rows, 4), before = Float64Array.from(y);
        const [xs, ws] = [operands(x, compute), operands(w.values, compute)];
        const sums = (start: (t: number, r: number) => number) =>
          oracle([tokens, rows, cols], xs, [cols, 1], ws, [1, cols], start);
        const label = `${tokens}x${rows}x${cols} dtype ${dtype} compute ${compute} y`;
        onOnednn((lane) => {
          linearForward(lane, y, x, w.data, w.descriptor, null, null, tokens, MEFT_F32, MEFT_F32, compute, 1);
        });
        check(`accumulated ${label}`, y, sums((t, r) => before[t * rows + r] as number));
        using lane = new NativeContext({ gemm: "onednn" });
        linearForward(
          lane,
          y,
          x,
          w.data,
          w.descriptor,
          bias.data,
          bias.descriptor,
          tokens,
          MEFT_F32,
          MEFT_F32,
          compute,
          0,
        );
        check(`biased ${label}`, y, sums((_, r) => bias.values[r] as number));
      }
    }
  },
});

Deno.test({
  name: "linearBackwardData() and linearBackwardWeight() by oneDNN match f64 sums",
  ignore,
  fn() {
    for (const [dtype, compute] of TYPES) {
      for (const [tokens, rows, cols] of SHAPES) {
        const w = testWeight(dtype, rows, cols, 1);
        const x = normals(tokens * cols, 3), dy = normals(tokens * rows, 5);
        const dx = new Float32Array(tokens * cols),
          dweight = misaligned(new Float32Array(rows * cols).fill(0.5));
        onOnednn((lane) => {
          linearBackwardData(lane, dx, dy, w.data, w.descriptor, tokens, MEFT_F32, MEFT_F32, compute, 0);
          linearBackwardWeight(lane, dweight, null, dy, x, tokens, rows, cols, MEFT_F32, MEFT_F32, compute);
        });
        const [xs, dys, ws] = [operands(x, compute), operands(dy, compute), operands(w.values, compute)];
        const label = `${tokens}x${rows}x${cols} dtype ${dtype} compute ${compute}`;
        check(`${label} dx`, dx, oracle([tokens, cols, rows], dys, [rows, 1], ws, [cols, 1], () => 0));
        check(
          `${label} dweight`,
          dweight,
          oracle([rows, cols, tokens], dys, [1, rows], xs, [cols, 1], () => 0.5),
        );
      }
    }
  },
});

Deno.test({
  name: "f16 weights and empty sums stay with our own kernels on a lane of oneDNN",
  ignore,
  fn() {
    using own = new NativeContext();
    const w = testWeight(MEFT_F16, 5, 7, 1), none = testWeight(MEFT_F32, 5, 0, 1);
    const x = normals(3 * 7, 3), y = new Float32Array(15), expected = new Float32Array(15);
    linearForward(own, expected, x, w.data, w.descriptor, null, null, 3, MEFT_F32, MEFT_F32, MEFT_F32, 0);
    onOnednn((lane) => {
      linearForward(lane, y, x, w.data, w.descriptor, null, null, 3, MEFT_F32, MEFT_F32, MEFT_F32, 0);
    }, own.info().target);
    assertSame(y, expected);
    onOnednn((lane) => {
      linearForward(
        lane,
        y,
        new Float32Array(0),
        none.data,
        none.descriptor,
        null,
        null,
        3,
        MEFT_F32,
        MEFT_F32,
        MEFT_F32,
        0,
      );
    }, own.info().target);
    assert.ok(y.every((value) => value === 0));
  },
});

Deno.test("a lane of oneDNN exists where the build says so, else its refusal names the package", () => {
  const open = () => new NativeContext({ gemm: "onednn" })[Symbol.dispose]();
  if (ignore) assert.throws(open, /libmeft_onednn\.so.*install the package libdnnl-dev/);
  else open();
});
