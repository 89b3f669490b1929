// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { UserError } from "../../../lib/core/errors.ts";
import { loadModel } from "../../../lib/models/load.ts";
import type { Model } from "../../../lib/models/model.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { fileHash } from "../../../lib/files/hash.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { loadAdapter, saveAdapter } from "../../../lib/train/adapters.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { SMALL_SPARSE, smallModel } from "../train/small_run.ts";

const TENSORS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";

/** A saved sparse adapter in a folder that is removed afterwards. */
async function withAdapter(use: (folder: string, model: Model) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    using model = smallModel();
    const { adapter } = resolveAdapter({ kind: "sparse", options: SMALL_SPARSE }, model.config);
    await saveAdapter(model, adapter.create(model.kernels, model, 0), folder);
    await use(folder, model);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function message(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(() => null, (e: unknown) => e);
  assert.ok(error instanceof UserError, `a UserError, not ${error}`);
  return error.message;
}

async function changeConfig(folder: string, change: Record<string, unknown>): Promise<void> {
  const path = join(folder, CONFIG);
  const config = { ...JSON.parse(await Deno.readTextFile(path)), ...change };
  await Deno.writeTextFile(path, JSON.stringify(config));
}

Deno.test("loadAdapter() tells of an adapter of another model, and loads it; of the right model it says nothing", async () => {
  await withAdapter(async (folder, model) => {
    // The same shape, but other weights.
    using other = loadModel(modelFixture("llama_linear").dir, referenceKernels());
    const notices: string[] = [];
    const options = { onOtherBase: (notice: string) => notices.push(notice) };
    assert.equal((await loadAdapter(other, folder, options)).adapter.kind, "sparse");
    assert.equal(notices.length, 1);
    assert.match(
      notices[0] as string,
      /was trained on .*llama3_tied \(hash [0-9a-f]{12}\), not on .*llama_linear \(hash [0-9a-f]{12}\)/,
    );
    await loadAdapter(model, folder, options);
    assert.equal(notices.length, 1);
  });
});

Deno.test("loadAdapter() finds tensors that were damaged or that belong to another saving", async () => {
  await withAdapter(async (folder, model) => {
    const path = join(folder, TENSORS);
    const bytes = await Deno.readFile(path);
    await Deno.truncate(path, bytes.length - 8);
    assert.match(await message(loadAdapter(model, folder)), /it is truncated/);
    bytes[bytes.length - 1] = 1;
    await Deno.writeFile(path, bytes);
    assert.match(
      await message(loadAdapter(model, folder)),
      /is damaged: adapter_model.safetensors has the hash/,
    );
  });
});

Deno.test("loadAdapter() lists all missing, unknown and wrongly shaped tensors", async () => {
  await withAdapter(async (folder, model) => {
    const path = join(folder, TENSORS);
    const name = (part: string) => `base_model.model.model.layers.0.mlp.meft.${part}`;
    await writeSafetensors(path, [
      { name: name("keys"), dtype: "f32", shape: [2, 24], data: new Float32Array(48) },
      { name: "stranger", dtype: "f32", shape: [1], data: new Float32Array(1) },
    ]);
    await changeConfig(folder, { adapter_model_sha256: await fileHash(path) });
    const text = await message(loadAdapter(model, folder));
    assert.ok(text.includes(`tensor "${name("router")}" (12,24) is missing`), text);
    assert.ok(text.includes(`tensor "${name("keys")}" has shape (2,24), expected (48,24)`), text);
    assert.ok(text.includes('tensor "stranger" is unknown'), text);
    assert.match(text, /has 7 problems/);
  });
});

Deno.test("loadAdapter() names everything wrong in adapter_config.json", async () => {
  await withAdapter(async (folder, model) => {
    await changeConfig(folder, { peft_type: "IA3", settings: 3, format_version: 9, base_model_hash: null });
    const text = await message(loadAdapter(model, folder));
    for (
      const problem of [
        '"peft_type" is "IA3", expected "MEFT" or "LORA"',
        '"format_version" is 9, this version reads 1',
        '"settings" is not an object',
        '"base_model_hash" is null, expected a string',
      ]
    ) assert.ok(text.includes(problem), `${problem} in ${text}`);
    await Deno.writeTextFile(join(folder, CONFIG), "{");
    assert.match(await message(loadAdapter(model, folder)), /adapter_config.json is not JSON/);
    await Deno.remove(join(folder, CONFIG));
    assert.match(
      await message(loadAdapter(model, folder)),
      /There is no adapter in .*: adapter_config.json does not/,
    );
  });
});

Deno.test("loadAdapter() checks the settings of a file like any others", async () => {
  await withAdapter(async (folder, model) => {
    await changeConfig(folder, { settings: { ...SMALL_SPARSE, experts: 7, speed: "fast" } });
    const text = await message(loadAdapter(model, folder));
    assert.ok(text.includes("experts is 7, which does not divide neurons = 48"), text);
    assert.ok(text.includes('"speed" is no option'), text);
    await changeConfig(folder, { adapter: "sparce", settings: {} });
    assert.match(
      await message(loadAdapter(model, folder)),
      /There is no adapter "sparce"; did you mean "sparse"\?/,
    );
  });
});
