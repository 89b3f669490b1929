// SPDX-License-Identifier: Apache-2.0
/** What products are predicted to take of the workspace, beside what the library takes, around the sizes at which its ways change. */
import assert from "node:assert/strict";
import { type NativeKernels, nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import {
  isConverted,
  narrowProductBytes,
  type ProductPlace,
  together,
  wideProductBytes,
} from "../../../lib/ops/counting/product_scratch.ts";
import type { Weight } from "../../../lib/tensor/tensor.ts";

/** A context takes no less. */
const SMALLEST_BYTES = 2 ** 20;

/** Bytes that a call leaves reserved: those of its largest, which the second one finds. */
function takenBytes(k: NativeKernels, call: () => void): number {
  for (let time = 0; time < 2; time++) call();
  return k.info().workspaceBytes;
}

const SIZES = [
  [300, 3000, 700],
  [1057, 1500, 300],
  [2200, 700, 900],
  [193, 9000, 64],
  [100, 9000, 130],
  [20, 9000, 300],
] as const;

for (const compute of ["f32", "bf16"] as const) {
  for (const threads of [1, 2]) {
    for (const [tokens, inputs, outputs] of SIZES) {
      Deno.test(`workspace of products is predicted: ${tokens} tokens, ${inputs} to ${outputs}, ${compute}, ${threads} threads`, () => {
        const data = new Float32Array(outputs * inputs);
        const weight: Weight = {
          name: "w",
          dtype: "f32",
          rows: outputs,
          cols: inputs,
          data,
          mapped: null,
          grad: null,
        };
        const [x, y] = [new Float32Array(tokens * inputs), new Float32Array(tokens * outputs)];
        const calls: Readonly<Record<string, (k: NativeKernels) => void>> = {
          weight: (k) => k.linearBackwardWeight(data, null, y, x, tokens, outputs, inputs),
          data: (k) => k.linearBackwardData(x, y, weight, tokens, false),
          forward: (k) => k.linearForward(y, x, weight, null, tokens, false),
        };
        for (const [name, call] of Object.entries(calls)) {
          using k = nativeKernels({ compute, threads });
          const taken = takenBytes(k, () => call(k));
          const { hostProducts } = k;
          const operandDType = hostProducts.operandDType === "bf16" ? "bf16" : "f32";
          const place: ProductPlace = { ...hostProducts, compute, operandDType };
          const converted = isConverted(place, "f32");
          const isWide = tokens >= (converted ? 96 : 192);
          const wide = { m: tokens, n: outputs, k: inputs, copies: converted };
          const predicted = name === "weight"
            ? wideProductBytes(place, { m: outputs, n: inputs, k: tokens, copies: true })
            : name === "data"
            ? wideProductBytes(place, { m: tokens, n: inputs, k: outputs, copies: converted })
            : isWide
            ? wideProductBytes(place, wide)
            : together(0, narrowProductBytes(place, { m: outputs, n: tokens, k: inputs }));
          const expected = Math.max(SMALLEST_BYTES, predicted);
          assert.ok(
            Math.abs(taken - expected) <= 0.005 * taken,
            `${name}: ${taken} bytes taken, ${predicted} predicted`,
          );
        }
      });
    }
  }
}
