// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { openAdapterFiles } from "../../../../lib/adapters/files/adapter_files.ts";
import { baseRecord } from "../../../../lib/adapters/files/base_model.ts";
import { MEFT_FORMAT } from "../../../../lib/adapters/files/meft_format.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import { UserError } from "../../../../lib/core/errors.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { fileHash } from "../../../../lib/files/hash.ts";
import { parameterSources } from "../../../../lib/adapters/finite.ts";
import { searchFinite } from "../../../../lib/tensor/finite.ts";
import { modelHash } from "../../../../lib/tensor/model_hash.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../../lib/tensor/safetensors.ts";
import { numel } from "../../../../lib/tensor/tensor.ts";
import { type TensorSource, writeSafetensors } from "../../../../lib/tensor/write_safetensors.ts";
import { assertSame } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { loadAdapter, saveAdapter } from "../../../../lib/train/adapters.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { parameterBytes, SMALL_SPARSE, smallModel } from "../../train/small_run.ts";

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
    using other = openCheckpoint(modelFixture("llama_linear").dir, referenceKernels());
    const notices: string[] = [];
    const options = { onOtherBase: (notice: string) => notices.push(notice) };
    assert.equal((await loadAdapter(other, folder, options)).adapter.kind, "sparse");
    assert.equal(notices.length, 1);
    const [trainedOn, given] = ["llama3_tied", "llama_linear"].map((name) => {
      const { dir } = modelFixture(name);
      return `${dir} (hash ${modelHash(dir).slice(0, 12)})`;
    });
    const notice = `was trained on ${trainedOn}, not on ${given}: what it learnt may mean nothing there`;
    assert.ok(notices[0]?.includes(notice), notices[0]);
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

Deno.test("saveAdapter() writes what the adapter is, of which model, with how many parameters and the hash of its tensors", async () => {
  await withAdapter(async (folder, model) => {
    const config = JSON.parse(await Deno.readTextFile(join(folder, CONFIG)));
    const { base_model_hash, base_model_path, base_model_relative_path, base_model_name_or_path, ...rest } =
      config;
    assert.deepEqual(rest, {
      peft_type: "MEFT",
      format_version: 1,
      adapter: "sparse",
      sites: ["ffn"],
      settings: {
        ...SMALL_SPARSE,
        gate: "raw",
        scope: "token",
        keys: "trained",
        routerInit: "keys",
        routerScale: 50,
        initStd: model.config.initializerRange,
      },
      parameters: 2 * (12 + 48 + 48) * 24,
      adapter_model_sha256: await fileHash(join(folder, TENSORS)),
    });
    const { dir } = modelFixture("llama3_tied");
    assert.equal(base_model_hash, modelHash(dir));
    assert.equal(base_model_path, Deno.realPathSync(dir));
    assert.equal(base_model_name_or_path, base_model_path);
    assert.equal(Deno.realPathSync(join(folder, base_model_relative_path)), base_model_path);
    assert.deepEqual(readSafetensorsHeader(join(folder, TENSORS)).metadata, { format: "meft" });
    assert.ok((await Deno.readTextFile(join(folder, CONFIG))).endsWith("}\n"));
  });
});

Deno.test("saveAdapter() of LoRA writes tensors as transformers asks for, and of which model beside them", async () => {
  await withFolder(async (folder) => {
    using model = smallModel();
    const { adapter } = resolveAdapter({ kind: "lora", options: { rank: 2 } }, model.config);
    await saveAdapter(model, adapter.create(model.kernels, model, 0), folder);
    const { metadata, tensors } = readSafetensorsHeader(join(folder, TENSORS));
    const { dir } = modelFixture("llama3_tied");
    assert.deepEqual(metadata, {
      format: "pt",
      base_model_hash: modelHash(dir),
      base_model_path: Deno.realPathSync(dir),
      base_model_relative_path: metadata["base_model_relative_path"],
    });
    assert.deepEqual([...tensors.keys()], adapter.sizes(model, 0).parameters.map(({ name }) => name));
    const { base_model_name_or_path, ...rest } = JSON.parse(await Deno.readTextFile(join(folder, CONFIG)));
    assert.equal(base_model_name_or_path, Deno.realPathSync(dir));
    assert.deepEqual(rest, {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      inference_mode: true,
      r: 2,
      lora_alpha: 16,
      lora_dropout: 0,
      use_rslora: false,
      target_modules: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
      bias: "none",
      fan_in_fan_out: false,
      init_lora_weights: true,
    });
  });
});

Deno.test("loadAdapter() refuses tensors that are no floats, and says where the values that it read lie", async () => {
  await withAdapter(async (folder, model) => {
    const path = join(folder, TENSORS);
    assert.equal((await loadAdapter(model, folder)).source, path);
    const { tensors } = readSafetensorsHeader(path);
    await writeSafetensors(
      path,
      [...tensors.values()].map(({ name, shape }) => {
        const data = new Int32Array(numel(shape));
        return { name, dtype: "i32", shape, data };
      }),
    );
    await changeConfig(folder, { adapter_model_sha256: await fileHash(path) });
    const text = await message(loadAdapter(model, folder));
    assert.match(text, /tensor ".*0\.mlp\.meft\.router" is i32, expected f32, bf16, f16, f64/);
    assert.match(text, /has 6 problems/);
  });
});

Deno.test("saveAdapter() over an adapter replaces it; a folder without its tensors is none", async () => {
  await withAdapter(async (folder, model) => {
    const { adapter } = resolveAdapter({ kind: "parallel", options: { neurons: 3 } }, model.config);
    const params = adapter.create(model.kernels, model, 0);
    params.init(model.kernels, 1);
    await saveAdapter(model, params, folder);
    const loaded = await loadAdapter(model, folder);
    assert.equal(loaded.adapter.kind, "parallel");
    assertSame(parameterBytes(loaded.parameters), parameterBytes(params.parameters));
    await Deno.remove(join(folder, TENSORS));
    assert.match(await message(loadAdapter(model, folder)), /adapter_model\.safetensors.*\n.*does not exist/);
    await Deno.writeTextFile(join(folder, CONFIG), "[1]");
    assert.match(await message(loadAdapter(model, folder)), /adapter_config\.json holds no JSON object/);
  });
});

/** Saves an adapter of more rows than are read at a time again, as other floats; what its parameters were and are. */
async function rewritten(folder: string, model: Model, change: (tensor: TensorSource) => TensorSource) {
  const options = { neurons: 1100, experts: 10, activeExperts: 2, topK: 3 };
  const { adapter } = resolveAdapter({ kind: "sparse", options }, model.config);
  const params = adapter.create(model.kernels, model, 0);
  for (const [i, parameter] of params.parameters.entries()) {
    // Numbers that every type of floats has.
    const data = parameter.kind === "dense" ? parameter.data : parameter.matrix.full!;
    data.forEach((_, j) => data[j] = ((j * 7 + i) % 401 - 200) / 64);
  }
  await saveAdapter(model, params, folder);
  const path = join(folder, TENSORS);
  const { tensors } = readSafetensorsHeader(path);
  const sources = [...tensors.values()].map((entry) =>
    change({ name: entry.name, shape: entry.shape, dtype: "f64", data: readTensor(entry, "f64") })
  );
  await writeSafetensors(path, sources);
  await changeConfig(folder, { adapter_model_sha256: await fileHash(path) });
  return params;
}

/** The upper half of an f32 is the bf16 of a number that has no more digits. */
const toBf16 = (data: Float64Array) =>
  Uint16Array.from(new Uint32Array(Float32Array.from(data).buffer), (bits) => bits >>> 16);

const STORED: Readonly<Record<"f32" | "bf16" | "f16" | "f64", (data: Float64Array) => ArrayBufferView>> = {
  f32: (data) => Float32Array.from(data),
  bf16: toBf16,
  f16: (data) => Float16Array.from(data),
  f64: (data) => data,
};

for (const [dtype, stored] of Object.entries(STORED)) {
  Deno.test(`loadAdapter() reads all rows of tensors that are ${dtype}`, async () => {
    await withFolder(async (folder) => {
      using model = smallModel();
      const params = await rewritten(folder, model, (tensor) => ({
        ...tensor,
        dtype: dtype as TensorSource["dtype"],
        data: stored(tensor.data as Float64Array),
      }));
      const loaded = await loadAdapter(model, folder);
      assertSame(parameterBytes(loaded.parameters), parameterBytes(params.parameters));
    });
  });
}

Deno.test("loadAdapter() refuses tensors of another shape though they have as many elements", async () => {
  await withFolder(async (folder) => {
    using model = smallModel();
    await rewritten(folder, model, (tensor) => ({ ...tensor, shape: tensor.shape.toReversed() }));
    const text = await message(loadAdapter(model, folder));
    assert.match(text, /keys" has shape \(24,1100\), expected \(1100,24\)/);
    assert.match(text, /has 6 problems/);
  });
});

Deno.test("saveAdapter() makes the folders that it needs, and a pickle beside the tensors does not matter", async () => {
  await withFolder(async (around) => {
    using model = smallModel();
    const folder = join(around, "a", "b");
    const { adapter } = resolveAdapter({ kind: "lora", options: { rank: 2 } }, model.config);
    const params = adapter.create(model.kernels, model, 0);
    params.init(model.kernels, 1);
    await saveAdapter(model, params, folder);
    await Deno.writeTextFile(join(folder, "adapter_model.bin"), "(lp0\n.");
    const loaded = await loadAdapter(model, folder);
    assertSame(parameterBytes(loaded.parameters), parameterBytes(params.parameters));
    await Deno.remove(join(folder, TENSORS));
    assert.match(await message(loadAdapter(model, folder)), /a Python pickle, which is not read here/);
  });
});

Deno.test("an adapter is opened with the hash of its tensors, and loaded without gradients, whatever its kind", async () => {
  for (const [kind, options] of [["lora", { rank: 2 }], ["parallel", { neurons: 3 }]] as const) {
    await withFolder(async (folder) => {
      using model = smallModel();
      const { kernels: k } = model;
      const { adapter } = resolveAdapter({ kind, options }, model.config);
      const params = adapter.create(k, model, 0);
      params.init(k, 1);
      await saveAdapter(model, params, folder);
      params.release();
      assert.equal((await openAdapterFiles(folder)).tensorsHash, await fileHash(join(folder, TENSORS)));
      const { parameters } = await loadAdapter(model, folder);
      assert.ok(parameters.every((parameter) => parameter.kind === "dense" && parameter.grad === null));
      assert.equal(k.ledger.held.get("gradients") ?? 0, 0);
    });
  }
});

Deno.test("a base of the hub's cache is named in our own folders as in PEFT's", () => {
  using model = smallModel();
  const { adapter } = resolveAdapter({ kind: "parallel", options: { neurons: 3 } }, model.config);
  const params = adapter.create(model.kernels, model, 0);
  const name = `/nowhere/models--some--model/snapshots/${"0123456789".repeat(4)}`;
  const config = MEFT_FORMAT.config(params, {
    base: baseRecord({ name, hash: "h" }, "/nowhere"),
    ...{ tensorsHash: "t", taskType: null },
  });
  assert.equal(config["base_model_name_or_path"], "some/model");
  assert.equal(config["base_model_path"], name);
  assert.deepEqual([config["base_model_hash"], config["adapter_model_sha256"]], ["h", "t"]);
});

for (const kind of ["sparse", "parallel"] as const) {
  Deno.test(`parameterSources() of a ${kind} adapter finds the value that is no number, by its row and file`, async () => {
    using model = smallModel();
    const sizes = kind === "sparse" ? { experts: 100, activeExperts: 8, topK: 64 } : {};
    const { adapter } = resolveAdapter({ kind, options: { neurons: 2100, ...sizes } }, model.config);
    const params = adapter.create(model.kernels, model, 0);
    params.init(model.kernels, 1);
    assert.equal((await searchFinite(parameterSources(model.kernels, params))).broken, null);
    const keys = params.parameters.find(({ name }) => name.endsWith("1.mlp.meft.keys"))!;
    for (const [row, value] of [[2099, -Infinity], [1500, NaN], [1023, Infinity]] as const) {
      const data = (keys.kind === "rows" ? keys.matrix.full : keys.data) as Float64Array;
      data[row * 24 + 5] = value;
      const { broken } = await searchFinite(parameterSources(model.kernels, params));
      assert.deepEqual(broken, { tensor: keys.name, file: "the adapter", index: [row, 5], value });
    }
    const [first] = parameterSources(model.kernels, { ...params, source: "a/file" });
    assert.equal(first?.file, "a/file");
  });
}
