// SPDX-License-Identifier: Apache-2.0
/** Contract cases of single kernels at the ends of their range: tails, masks far out, tables of every length. */
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import type { Floats } from "../../../lib/tensor/tensor.ts";
import { now } from "../../now.ts";

function relu(stage: Stage): Outputs {
  const x = [...now(stage.k.read(stage.normal("x", 40)))].map((value, i) =>
    i % 7 === 3 ? NaN : i === 39 ? 0 : value
  );
  const [y, inPlace] = [stage.output(40), stage.values(x)];
  stage.k.activationForward(y, stage.values(x), null, "relu");
  stage.k.activationForward(inPlace, inPlace, null, "relu");
  const [dx, dy] = [stage.output(40), stage.normal("dy", 40)];
  stage.k.activationBackward(dx, null, stage.normal("dy", 40), y, null, "relu");
  stage.k.activationBackward(dy, null, dy, y, null, "relu");
  return { y, inPlace, dx, dxInPlace: dy };
}

const TABLE_ROWS = 11;

function rotary(stage: Stage, [tokens, heads, headDim]: readonly number[], inverse: boolean): Outputs {
  const [T, H, D] = [tokens, heads, headDim] as [number, number, number];
  const x = stage.normal("x", T * H * D);
  // Any tables will do: they carry a scale, so they need not be of unit length.
  const [cos, sin] = [stage.normal("cos", TABLE_ROWS * D / 2), stage.normal("sin", TABLE_ROWS * D / 2)];
  const positions = Int32Array.from({ length: T }, (_, t) => (t * 5 + 10) % TABLE_ROWS);
  stage.k.ropeApply(x, cos, sin, positions, H, D, D, inverse);
  return { x };
}

/** Two products of factors below 5, and one sum. */
function rotaryMagnitudes(stage: Stage, [T, H, D]: readonly number[]): Outputs {
  const x = absolute(stage.normal("x", (T as number) * (H as number) * (D as number)));
  const half = (D as number) / 2;
  return {
    x: x.map((value, i) => 5 * (value + (x[i % (D as number) < half ? i + half : i - half] as number))),
  };
}

const MASK = { seed: 0xffffffff, stream: 0xdeadbeef, part: 31, first: 5, probability: 0.25 };
const MASKS = [MASK, { ...MASK, first: 2 ** 40 + 2, part: 0 }, { ...MASK, first: 0, probability: 0 }];

/** Cases of this family. */
export const edgeCases: readonly KernelCase[] = [
  { name: "activationForward() and activationBackward() of relu keep NaN, in place too", run: relu },
  ...[[0, 2, 8], [1, 1, 2], [3, 2, 30], [7, 1, 34], [130, 4, 64]].flatMap((shape) =>
    [false, true].map((inverse): KernelCase => ({
      name: `ropeApply() of (T,heads,Dh) = (${shape})${inverse ? ", inverse" : ""}`,
      run: (stage) => rotary(stage, shape, inverse),
      magnitudes: (stage) => rotaryMagnitudes(stage, shape),
    }))
  ),
  ...[[0, 0], [7, 3], [0xffffffff, 0xdeadbeef]].flatMap(([seed, stream]) =>
    [2, 5, 4096, 9001].map((count): KernelCase => ({
      name: `randomNormal() of ${count} elements, seed ${seed}, stream ${stream}`,
      run(stage) {
        const out = stage.output(count);
        stage.k.randomNormal(out, seed as number, stream as number, 0.75);
        return { out };
      },
      magnitudes: (_, { out }) => ({ out: absolute(out as Floats) }),
      multiple: 1, // computed in f64 everywhere: only the last rounding differs
    }))
  ),
  ...MASKS.flatMap((mask, i) =>
    [1, 63, 64, 65, 4096, 9001].map((count): KernelCase => ({
      name: `dropout() of ${count} elements in place, mask ${i}`,
      run(stage) {
        const x = stage.normal("x", count);
        stage.k.dropout(x, x, mask, false);
        return { x };
      },
      magnitudes: (stage) => ({ x: absolute(stage.normal("x", count)).map((x) => 2 * x) }),
    }))
  ),
];
