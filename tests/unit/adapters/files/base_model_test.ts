// SPDX-License-Identifier: Apache-2.0
/** Where a saved adapter finds its base again: its hash decides, whatever moved. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { openAdapterFiles } from "../../../../lib/adapters/files/adapter_files.ts";
import { baseRecord, findBase, readBase } from "../../../../lib/adapters/files/base_model.ts";
import { UserError } from "../../../../lib/core/errors.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { baseOf, openAdapter, saveAdapter } from "../../../../lib/train/adapters.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { SMALL_SPARSE } from "../../train/small_run.ts";

async function copyModel(name: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for (const file of ["config.json", "model.safetensors"]) {
    await Deno.copyFile(join(modelFixture(name).dir, file), join(to, file));
  }
}

const SPECS = {
  lora: { rank: 2, targets: ["q"] },
  sparse: SMALL_SPARSE,
} as const;

/** `work/models/base` with an adapter of it in `work/runs/one/adapter`. */
async function work(root: string, kind: keyof typeof SPECS): Promise<{ model: string; adapter: string }> {
  const [model, adapter] = [join(root, "work/models/base"), join(root, "work/runs/one/adapter")];
  await copyModel("llama3_tied", model);
  using loaded = openCheckpoint(model, referenceKernels());
  const { adapter: made } = resolveAdapter({ kind, options: SPECS[kind] }, loaded.config);
  const params = made.create(loaded.kernels, loaded, 0);
  params.init(loaded.kernels, 1);
  await saveAdapter(loaded, params, adapter);
  return { model, adapter };
}

const real = (path: string): string => Deno.realPathSync(path);

async function found(adapter: string): Promise<string> {
  return real(baseOf(await openAdapter(adapter)));
}

async function refusal(adapter: string): Promise<string> {
  const saved = await openAdapter(adapter);
  try {
    baseOf(saved);
  } catch (error) {
    assert.ok(error instanceof UserError, `a UserError, not ${error}`);
    return error.message;
  }
  return "nothing";
}

for (const kind of ["lora", "sparse"] as const) {
  Deno.test(`a saved ${kind} adapter finds its base when the adapter, or both, move, and says so when the base is gone`, () =>
    withFolder(async (root) => {
      const { model, adapter } = await work(root, kind);
      const config = JSON.parse(Deno.readTextFileSync(join(adapter, "adapter_config.json")));
      assert.equal(config.base_model_name_or_path, real(model), "what PEFT opens from any folder");
      assert.equal(await found(adapter), real(model));
      // The adapter alone.
      await Deno.mkdir(join(root, "elsewhere/deep"), { recursive: true });
      await Deno.rename(adapter, join(root, "elsewhere/deep/kept"));
      assert.equal(await found(join(root, "elsewhere/deep/kept")), real(model));
      await Deno.rename(join(root, "elsewhere/deep/kept"), adapter);
      // Both together.
      await Deno.rename(join(root, "work"), join(root, "moved"));
      const moved = join(root, "moved/runs/one/adapter");
      assert.equal(await found(moved), real(join(root, "moved/models/base")));
      // A model of another hash in the old place is not taken for it.
      await copyModel("llama_linear", model);
      assert.equal(await found(moved), real(join(root, "moved/models/base")));
      // The base alone.
      await Deno.rename(join(root, "moved/models/base"), join(root, "moved/models/renamed"));
      const gone = await refusal(moved);
      assert.match(
        gone,
        /The base model of adapter .* is .*base, and .*base is another model by now \(by the hash\)/,
      );
      assert.match(gone, /give the folder of the model with --model/);
      await Deno.remove(model, { recursive: true });
      assert.match(
        await refusal(moved),
        /and there is no such folder here: give the folder of the model with --model/,
      );
      const saved = await openAdapter(moved);
      assert.equal(
        real(baseOf(saved, [join(root, "moved/models/renamed")])),
        real(join(root, "moved/models/renamed")),
      );
    }));
}

Deno.test("a base that was told relatively, by older versions, is found from the folders above the adapter", () =>
  withFolder(async (root) => {
    const { model, adapter } = await work(root, "sparse");
    const path = join(adapter, "adapter_config.json");
    const { base_model_path: _, base_model_relative_path: __, ...config } = JSON.parse(
      Deno.readTextFileSync(path),
    );
    await Deno.writeTextFile(path, JSON.stringify({ ...config, base_model_name_or_path: "models/base" }));
    assert.equal(await found(adapter), real(model));
  }));

Deno.test("PEFT's adapter without a hash finds a folder that its name is, and no name of the hub", () =>
  withFolder(async (root) => {
    const base = { name: join(root, "models/base"), hash: null, path: null, relativePath: null };
    await copyModel("llama3_tied", base.name);
    assert.equal(findBase(base, root), base.name);
    assert.throws(
      () => findBase({ ...base, name: "some-organisation/some-model" }, root),
      /The base model of adapter .* is some-organisation\/some-model, and there is no such folder here: give the folder/,
    );
    assert.throws(() => findBase({ ...base, name: null }, root), /has no name in its folder/);
    // Without a hash nothing tells that a folder of that name above the adapter is it.
    assert.throws(
      () => findBase({ ...base, name: "models/base" }, join(root, "adapter")),
      /there is no such folder/,
    );
    assert.throws(
      () => findBase({ ...base, name: "gone" }, root, [base.name]),
      /there is no such folder here/,
      "nor that another one is",
    );
  }));

Deno.test("a model in the cache of the hub is told by its name and revision, and found in the cache", () =>
  withFolder(async (root) => {
    const revision = "0123456789abcdef0123456789abcdef01234567";
    const snapshot = join(root, `hub/models--some-organisation--some-model-1B/snapshots/${revision}`);
    await copyModel("llama3_tied", snapshot);
    const adapter = join(root, "runs/adapter");
    using model = openCheckpoint(snapshot, referenceKernels());
    const { adapter: kind } = resolveAdapter({ kind: "lora", options: SPECS.lora }, model.config);
    await saveAdapter(model, kind.create(model.kernels, model, 0), adapter);
    const config = JSON.parse(Deno.readTextFileSync(join(adapter, "adapter_config.json")));
    assert.equal(config.base_model_name_or_path, "some-organisation/some-model-1B");
    assert.equal(config.revision, revision);
    const saved = await openAdapterFiles(adapter);
    assert.equal(real(baseOf(saved)), real(snapshot));
    // Its name is none of a folder: where the adapter moves, the path leads there.
    await Deno.mkdir(join(root, "elsewhere/deep"), { recursive: true });
    await Deno.rename(adapter, join(root, "elsewhere/deep/kept"));
    assert.equal(await found(join(root, "elsewhere/deep/kept")), real(snapshot));
    assert.equal(baseRecord({ name: "models/x", hash: "" }, root).revision, null);
  }));

Deno.test("what a folder leaves empty it does not tell", () => {
  const empty = { base_model_hash: "", base_model_path: "", base_model_relative_path: "" };
  for (const fields of [empty, {}, { base_model_hash: 3, base_model_path: null }]) {
    assert.deepEqual(readBase("n", fields), { name: "n", hash: null, path: null, relativePath: null });
  }
});
