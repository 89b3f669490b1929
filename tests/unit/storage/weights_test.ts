// SPDX-License-Identifier: Apache-2.0
/** Weights as they are stored: what may be read, what they take, what they become. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { floatToBf16, floatToF16 } from "../../../lib/core/half.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { openWeights, weightBytes, weightDTypeProblem } from "../../../lib/storage/weights.ts";
import { indexCheckpoint } from "../../../lib/tensor/checkpoint_index.ts";
import type { StoredDType } from "../../../lib/tensor/safetensors.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { assertSameBits } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";

const VALUES = [1.5, -2, 0.1, 3, 65504, -0];

/** A checkpoint of two files, the second of f64 alone. */
async function checkpoint(folder: string) {
  await writeSafetensors(join(folder, "model-1-of-2.safetensors"), [
    { name: "f32", dtype: "f32", shape: [2, 3], data: Float32Array.from(VALUES) },
    { name: "bf16", dtype: "bf16", shape: [3, 2], data: Uint16Array.from(VALUES, floatToBf16) },
    { name: "f16", dtype: "f16", shape: [6], data: Uint16Array.from(VALUES, floatToF16) },
    { name: "u8", dtype: "u8", shape: [3], data: Uint8Array.of(1, 2, 3) },
  ]);
  await writeSafetensors(join(folder, "model-2-of-2.safetensors"), [
    { name: "f64", dtype: "f64", shape: [2, 3], data: Float64Array.from(VALUES) },
  ]);
  const problems: string[] = [];
  const index = indexCheckpoint(folder, problems);
  assert.deepEqual(problems, []);
  return index;
}

Deno.test("weightDTypeProblem() names file, tensor, type and backend of what cannot be read", () => {
  const entry = (dtype: StoredDType) => ({
    name: "w",
    dtype,
    shape: [1],
    path: "a/file",
    offsetBytes: 0,
    bytes: 4,
  });
  for (const dtype of ["f32", "bf16", "f16", "f64"] as const) {
    assert.equal(weightDTypeProblem({ backend: "cpu" }, entry(dtype)), null);
  }
  assert.equal(
    weightDTypeProblem({ backend: "cpu" }, entry("i8")),
    'Tensor "w" of a/file is i8: the cpu backend reads f32, bf16, f16, f64',
  );
});

Deno.test("weightBytes() are those of the files that are mapped, and half of what is read from f64", () =>
  withFolder(async (folder) => {
    const index = await checkpoint(folder);
    const [first] = index.files;
    assert.equal(weightBytes(index), first!.fileBytes + 6 * 4);
    const only = new Map([...index.tensors].filter(([name]) => name === "f64"));
    assert.equal(weightBytes({ ...index, tensors: only }), 6 * 4, "of files that nothing is mapped of, none");
  }));

Deno.test("openWeights() of the reference widens every type to f64, and its ledger holds them until they are disposed", () =>
  withFolder(async (folder) => {
    const { tensors } = await checkpoint(folder);
    const k = referenceKernels();
    const shapes = { f32: [2, 3], bf16: [3, 2], f16: [1, 6], f64: [2, 3] };
    {
      using source = openWeights(k);
      for (const [name, [rows, cols]] of Object.entries(shapes)) {
        const weight = source.load(tensors.get(name)!);
        assert.deepEqual([weight.name, weight.dtype, weight.rows, weight.cols], [name, "f64", rows, cols]);
        assert.deepEqual([weight.mapped, weight.grad], [null, null]);
        const stored = { f32: Math.fround(0.1), bf16: 0.10009765625, f16: 0.0999755859375, f64: 0.1 };
        const expected = VALUES.with(2, stored[name as keyof typeof stored]);
        assertSameBits(
          name,
          weight.data!,
          Float64Array.from(name === "bf16" ? expected.with(4, 65536) : expected),
        );
      }
      assert.throws(() => source.load(tensors.get("u8")!), /"u8" of .* is u8: the reference backend reads/);
      assert.equal(k.ledger.held.get("weights"), 4 * 6 * 8);
      source[Symbol.dispose]();
      assert.equal(k.ledger.held.get("weights"), 0);
    }
    assert.equal(k.ledger.held.get("weights"), 0, "once");
  }));
