// SPDX-License-Identifier: Apache-2.0
/** A LoRA on a vision transformer with its classifier, as PEFT saves them: read, and written back. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import { forwardLogits } from "../../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { lastStack } from "../../../../lib/models/parts.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../../../lib/tensor/safetensors.ts";
import { loadAdapter, saveAdapter } from "../../../../lib/train/adapters.ts";
import { assertSameBits, assertWithin } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { readOracle } from "../../../fixtures/oracle.ts";
import { visionFixture, visionFolder } from "../../../fixtures/vision_fixture.ts";

Deno.test("a LoRA that PEFT saved gives its outputs, and is saved with the same tensors", () =>
  withFolder(async (folder) => {
    const { dir, batch } = visionFixture("vit_labels");
    using base = openCheckpoint(dir, referenceKernels());
    const params = await loadAdapter(base, visionFolder("lora"));
    const { input } = lastStack(base.parts);
    assert(input.kind === "patches");
    const { model, hooks } = attachAdapter(base, params);
    const { data } = await forwardLogits(model, batch(input.shape, input.tokens.length), hooks);
    assertWithin("outputs", data, readOracle(visionFolder("lora")).expected("outputs"), 1e-9);
    await saveAdapter(base, params, join(folder, "adapter"));
    const file = (path: string) => readSafetensorsHeader(join(path, "adapter_model.safetensors")).tensors;
    const [given, saved] = [file(visionFolder("lora")), file(join(folder, "adapter"))];
    assert.deepEqual([...saved.keys()].sort(), [...given.keys()].sort());
    for (const [name, entry] of given) {
      const written = saved.get(name) as TensorEntry;
      assert.deepEqual(written.shape, entry.shape, name);
      assertSameBits(name, readTensor(written, "f64"), Float64Array.from(readTensor(entry, "f32")));
    }
  }));
