// SPDX-License-Identifier: Apache-2.0
/** Every kernel with the model on a device, element by element against the f64 oracle: emulated where there is none. */
import assert from "node:assert/strict";
import { openTestDevice } from "../cuda_library.ts";
import { assertAgreesEverywhere } from "./agreement.ts";
import { deviceBackends, deviceRowBackends, watchedKernels } from "./backends.ts";
import { KERNEL_CASES } from "./cases/all.ts";
import { pairCases } from "./cases/pairs.ts";
import { rowCases } from "./cases/rows.ts";
import { sparseCases, sparseRoundingCases } from "./cases/sparse.ts";
import { sparseNanCases } from "./cases/sparse_nan.ts";

const { backend } = openTestDevice();

/** But for the one kernel that the device lacks (tests/native/absent_kernels_test.ts). */
const ROW_CASES = [...sparseCases, ...sparseRoundingCases, ...sparseNanCases, ...pairCases, ...rowCases]
  .filter(({ name }) => !name.startsWith("sparseBackwardStep()"));

Deno.test("a device's backend does not pass for having run where all was the host's", () => {
  for (const claimed of deviceBackends()) {
    using k = claimed.open(1);
    const called = new Set<string>();
    const watched = watchedKernels(k, called);
    watched.add(new Float32Array(4), new Float32Array(4));
    assert.throws(() => claimed.assertRan(k, called), /^Error: ran on auto, expected cuda/);
    watched.scale(k.modelFloats(4, "activations"), 2);
    claimed.assertRan(k, called);
    assert.throws(() => claimed.assertRan(k, new Set(["rowsAdd"])), /^Error: ran on cuda\w*, expected auto/);
  }
});

for (const kind of ["cuda-emulated", "cuda"]) {
  for (const test of KERNEL_CASES) {
    Deno.test({
      name: `${kind}: ${test.name} agrees with the oracle`,
      ignore: kind !== backend,
      fn: () => assertAgreesEverywhere(test, deviceBackends()),
    });
  }
  for (const test of ROW_CASES) {
    Deno.test({
      name: `${kind}'s own kernels: ${test.name} agrees with the oracle`,
      ignore: kind !== backend,
      fn: () => assertAgreesEverywhere(test, deviceRowBackends()),
    });
  }
}
