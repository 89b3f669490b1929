// SPDX-License-Identifier: Apache-2.0
/** Every kernel on every backend of this machine, element by element against the f64 oracle. */
import assert from "node:assert/strict";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertSame, assertSameBits } from "../compare.ts";
import { assertAgreesEverywhere } from "./agreement.ts";
import { backends, watchedKernels } from "./backends.ts";
import { CPU_CASES, KERNEL_CASES } from "./cases/all.ts";
import { createStage } from "./stage.ts";
import { now } from "../now.ts";

for (const test of [...KERNEL_CASES, ...CPU_CASES]) {
  Deno.test({
    name: `${test.name} agrees with the oracle on every backend, whatever the threads`,
    fn: () => assertAgreesEverywhere(test),
  });
}

Deno.test("every kernel has a contract case", async () => {
  const called = new Set<string>();
  for (const test of KERNEL_CASES) await test.run(createStage(watchedKernels(referenceKernels(), called)));
  // Tested below.
  const allocation: (keyof Kernels)[] = [
    ...(["floats", "arenaFloats", "arenaActivations", "arenaIntegers", "hostFloats"] as const),
    ...(["modelFloats", "modelActivations", "indices", "twin"] as const),
  ];
  const elsewhere: (keyof Kernels)[] = [
    ...(["sparseBranchForward", "sparseBranchBackward"] as const), // sparse_branch_test.ts
    "rowCache", // tests/unit/ops/row_cache_test.ts
  ];
  const tested = [...allocation, ...elsewhere];
  const missing = Object.entries(referenceKernels())
    .filter(([name, member]) =>
      typeof member === "function" && !called.has(name) && !tested.includes(name as keyof Kernels)
    )
    .map(([name]) => name);
  assert.deepEqual(missing, []);
});

Deno.test("floats() are zeroed and arenaFloats() are of the backend's float type", () => {
  for (const backend of backends()) {
    using k = backend.open(1);
    assertSameBits("floats", k.floats(5), new Float32Array(5));
    assertSame(k.indices(5), new Int32Array(5));
    assertSameBits("modelFloats", now(k.read(k.modelFloats(5, "activations"))), new Float32Array(5));
    assert.equal(k.arenaFloats(7).length, 7);
    assert.equal(k.hostFloats(7).length, 7);
    assert.equal(k.twin(), k.twin());
    assert.equal(k.arenaFloats(0).length, 0);
    assert.equal(k.arenaFloats(1).BYTES_PER_ELEMENT, k.floats(1).BYTES_PER_ELEMENT);
    const activations = now(k.read(k.modelActivations(5, "activations")));
    assertSame(activations, k.compute === "bf16" ? new Uint16Array(5) : new Float32Array(5));
    assert.equal(k.arenaActivations(7).BYTES_PER_ELEMENT, activations.BYTES_PER_ELEMENT);
    assert.equal(k.arenaActivations(7).length, 7);
  }
});
