// SPDX-License-Identifier: Apache-2.0
/** Weights where kernels read them: mapped for the CPU, copied to a device, f64 rounded to f32 in both. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { cudaKernels } from "../../lib/ops/native/cuda_kernels.ts";
import { openWeights, type WeightSource } from "../../lib/storage/weights.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../lib/tensor/safetensors.ts";
import type { Floats } from "../../lib/tensor/tensor.ts";
import { writeSafetensors } from "../../lib/tensor/write_safetensors.ts";
import { assertSameBits } from "../compare.ts";
import { openTestDevice } from "../cuda_library.ts";
import { withFolder } from "../fixtures/folder.ts";
import { now } from "../now.ts";

const { backend } = openTestDevice();

/** More than one piece of 16 MiB that goes up at once, and not a multiple of it. */
const LARGE = (16 << 20) / 4 + 5;

async function stored(
  folder: string,
): Promise<{ entry: (name: string) => TensorEntry; large: Float32Array; bytes: number }> {
  const path = join(folder, "model.safetensors");
  const large = Float32Array.from({ length: LARGE }, (_, i) => i % 65521);
  await writeSafetensors(path, [
    { name: "large", dtype: "f32", shape: [1, LARGE], data: large },
    { name: "f64", dtype: "f64", shape: [2], data: Float64Array.of(0.1, -1e300) },
    { name: "bf16", dtype: "bf16", shape: [3], data: Uint16Array.of(1, 2, 65535) },
  ]);
  const { tensors, fileBytes } = readSafetensorsHeader(path);
  return { entry: (name) => tensors.get(name)!, large, bytes: fileBytes };
}

function loadAll(source: WeightSource, entry: (name: string) => TensorEntry) {
  const [large, f64, bf16] = ["large", "f64", "bf16"].map((name) => source.load(entry(name)));
  assert.deepEqual([large, f64, bf16].map((weight) => [weight?.dtype, weight?.rows, weight?.cols]), [
    ["f32", 1, LARGE],
    ["f32", 1, 2],
    ["bf16", 1, 3],
  ]);
  return { large: large!, f64: f64!, bf16: bf16! };
}

Deno.test("weights of the CPU are mapped once a file, but f64, and leave the ledger as it was", () =>
  withFolder(async (folder) => {
    const { entry, bytes } = await stored(folder);
    using k = nativeKernels({ compute: "f32" });
    const before = k.info().mappedBytes;
    using source = openWeights(k);
    const { large, f64, bf16 } = loadAll(source, entry);
    assert.equal(large.data, null);
    assert.equal(large.mapped?.offsetBytes, entry("large").offsetBytes);
    assert.equal(bf16.mapped?.handle, large.mapped?.handle);
    assert.equal(f64.mapped, null);
    assertSameBits("f64", f64.data!, Float32Array.of(0.1, -Infinity));
    assert.equal(k.info().mappedBytes - before, bytes);
    assert.equal(k.ledger.held.get("weights"), bytes + 8);
    for (let i = 0; i < 2; i++) {
      source[Symbol.dispose]();
      assert.equal(k.ledger.held.get("weights"), 0);
      assert.equal(k.info().mappedBytes, before);
    }
  }));

Deno.test(`weights of ${backend} are copied whole, in their own type, and given back`, () =>
  withFolder(async (folder) => {
    const { entry, large: values } = await stored(folder);
    using k = cudaKernels({ compute: "f32" });
    const held = () => k.device.facts().ledger["weights"]?.bytes ?? 0;
    const before = held();
    const source = openWeights(k);
    const { large, f64, bf16 } = loadAll(source, entry);
    for (const { data, mapped } of [large, f64, bf16]) {
      assert.equal(mapped, null);
      assert.ok(data && k.device.holds(data));
    }
    assertSameBits("large", now(k.read(large.data as Floats)), values);
    assertSameBits("f64", now(k.read(f64.data as Floats)), Float32Array.of(0.1, -Infinity));
    const bits = new Uint16Array(3);
    k.device.copy(bits, bf16.data!);
    assertSameBits("bf16", bits, Uint16Array.of(1, 2, 65535));
    assert.equal(held() - before, 4 * LARGE + 8 + 6);
    source[Symbol.dispose]();
    assert.equal(held(), before);
  }));
