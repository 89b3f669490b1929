// SPDX-License-Identifier: Apache-2.0
/** oneDNN as provider of matrix products, where it is installed: what the contract asks of every product. */
import assert from "node:assert/strict";
import { multipliesBf16, NativeContext } from "../../lib/native/context.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { checkOnednn, type NativeKernels, nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { withCheckedWorkspace } from "../checked_workspace.ts";
import { assertAgreesEverywhere } from "./agreement.ts";
import { type Backend, machineTargets } from "./backends.ts";
import { linearCases } from "./cases/linear.ts";
import { productCases } from "./cases/products.ts";
import { createStage, type StoredDType } from "./stage.ts";

const ignore = !buildInfo(openLibrary()).gemm.includes("onednn");
/** oneDNN multiplies bf16 where the processor does. */
const COMPUTED = machineTargets().some(multipliesBf16) ? ["f32", "bf16"] as const : ["f32"] as const;

function open(compute: "f32" | "bf16"): NativeKernels {
  return withCheckedWorkspace(() => nativeKernels({ gemm: "onednn", compute }));
}

/** Its threads are its own: runs are compared on as many each time. Who computed has a test of its own. */
const BACKENDS = COMPUTED.map((compute): Backend => ({
  name: `oneDNN ${compute}`,
  compute,
  open: () => open(compute),
  assertRan: () => {},
}));

for (const test of [...linearCases, ...productCases].filter(({ name }) => name.startsWith("linear"))) {
  Deno.test({
    name: `oneDNN: ${test.name} agrees with the oracle`,
    ignore,
    fn: () => assertAgreesEverywhere(test, BACKENDS),
  });
}

Deno.test({
  name:
    "f16 weights, empty sums and results in bf16 stay with our own kernels on a lane of oneDNN, all else does not",
  ignore,
  fn() {
    for (const compute of COMPUTED) {
      const ran = (dtype: StoredDType, cols: number, halves = false) => {
        using k = open(compute);
        const stage = createStage(k), x = stage.normal("x", 3 * cols);
        const y = halves ? stage.activationOutput(15) : stage.output(15);
        k.linearForward(y, x, stage.weight("w", 5, cols, dtype), null, 3, false);
        return k.info().ranTarget;
      };
      using own = nativeKernels();
      const { target } = own.info();
      assert.deepEqual([ran("f32", 7), ran("bf16", 7)], ["auto", "auto"], compute);
      assert.deepEqual([ran("f16", 7), ran("f32", 0)], [target, target], compute);
      assert.equal(ran("f32", 7, true), compute === "bf16" ? target : "auto");
    }
  },
});

Deno.test("a lane of oneDNN exists where the build says so, else its refusal names the package", () => {
  const make = () => new NativeContext({ gemm: "onednn" })[Symbol.dispose]();
  if (ignore) assert.throws(make, /libmeft_onednn\.so.*install the package libdnnl-dev/);
  else make();
});

Deno.test("oneDNN's products of bf16 are refused by name where the processor has none", () => {
  checkOnednn("f32", ["portable", "avx2"], "x86_64");
  checkOnednn("bf16", ["portable", "avx2", "avx512"], "x86_64");
  checkOnednn("bf16", ["portable", "neon"], "aarch64");
  assert.throws(
    () => checkOnednn("bf16", ["portable", "avx2"], "x86_64"),
    /^UserError: oneDNN multiplies bf16 .* this one has portable, avx2: choose f32/,
  );
});
