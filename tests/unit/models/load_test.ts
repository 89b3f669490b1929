// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { ValidationError } from "../../../lib/core/errors.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { heldBytes } from "../../../lib/native/ledger.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { fileHash } from "../../../lib/files/hash.ts";
import { modelHash } from "../../../lib/tensor/model_hash.ts";
import { readTensor } from "../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";

type Fields = Record<string, unknown>;

/** Copies a checkpoint of the fixtures, lets `change` alter it, and gives the problems of loading it. */
async function problemsAfter(
  name: string,
  change: (folder: string) => Promise<void> | void,
): Promise<readonly string[]> {
  const folder = await Deno.makeTempDir();
  try {
    for (const entry of Deno.readDirSync(modelFixture(name).dir)) {
      if (entry.name !== "expected.safetensors") {
        Deno.copyFileSync(join(modelFixture(name).dir, entry.name), join(folder, entry.name));
      }
    }
    await change(folder);
    using _ = openCheckpoint(folder, referenceKernels());
    return [];
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    return error.problems;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Rewrites the f32 weight file of a folder. */
async function rewrite(folder: string, change: (tensors: TensorSource[]) => TensorSource[]): Promise<void> {
  const path = join(folder, "model.safetensors");
  const entries = [...readSafetensorsHeader(path).tensors.values()];
  const tensors = entries.map((entry): TensorSource => ({
    ...entry,
    dtype: "f32",
    data: readTensor(entry, "f32"),
  }));
  await writeSafetensors(path, change(tensors));
}

function editJson(path: string, change: (fields: Fields) => Fields): void {
  Deno.writeTextFileSync(path, JSON.stringify(change(JSON.parse(Deno.readTextFileSync(path)))));
}

const zeros = (name: string, shape: readonly number[]): TensorSource => ({
  name,
  dtype: "f32",
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});

Deno.test("openCheckpoint() lists missing, surplus and wrongly shaped tensors and bad fields at once", async () => {
  const problems = await problemsAfter("llama_linear", async (folder) => {
    editJson(join(folder, "config.json"), (fields) => ({ ...fields, vocab_size: 62 }));
    await rewrite(folder, (tensors) => [
      ...tensors.filter(({ name }) =>
        name !== "model.layers.1.mlp.up_proj.weight" && name !== "model.norm.weight"
      ),
      zeros("model.layers.2.mlp.up_proj.weight", [3]),
    ]);
  });
  const all = problems.join("\n");
  assert.match(
    all,
    /"model\.embed_tokens\.weight" in model\.safetensors has shape \(61,24\), expected \(62,24\)/,
  );
  assert.match(all, /"lm_head\.weight" .* has shape \(61,24\), expected \(62,24\)/);
  assert.match(all, /"model\.layers\.1\.mlp\.up_proj\.weight" \(37,24\) is missing/);
  assert.match(all, /"model\.norm\.weight" \(24\) is missing/);
  assert.match(all, /"model\.layers\.2\.mlp\.up_proj\.weight" .* is unknown/);
  assert.equal(problems.length, 5, all);
});

Deno.test("openCheckpoint() reports bad fields and bad files together", async () => {
  const problems = await problemsAfter("llama_linear", (folder) => {
    editJson(join(folder, "config.json"), (fields) => ({ ...fields, hidden_act: "mish", alibi: 1 }));
    Deno.truncateSync(join(folder, "model.safetensors"), 1000);
  });
  assert.equal(problems.length, 3, problems.join("\n"));
  assert.match(problems.join("\n"), /hidden_act.*\n.*alibi.*\n.*model\.safetensors: it is truncated/);
});

Deno.test("openCheckpoint() says which dtype it cannot read", async () => {
  const problems = await problemsAfter(
    "llama_linear",
    (folder) =>
      rewrite(folder, (tensors) =>
        tensors.map((tensor) => {
          if (tensor.name !== "model.norm.weight") return tensor;
          return { ...tensor, dtype: "i32", data: new Int32Array(24) };
        })),
  );
  assert.deepEqual(problems.length, 1);
  assert.match(
    problems[0] as string,
    /"model\.norm\.weight" .* is i32: the reference backend reads f32, bf16, f16, f64/,
  );
});

Deno.test("openCheckpoint() ignores stored rotary tables, and a stored head of a tied model if it fits", async () => {
  const extra = (head: readonly number[]) => (folder: string) =>
    rewrite(folder, (tensors) => [
      ...tensors,
      zeros("model.layers.0.self_attn.rotary_emb.inv_freq", [5]),
      zeros("lm_head.weight", head),
    ]);
  assert.deepEqual(await problemsAfter("llama3_tied", extra([61, 24])), []);
  assert.match(
    (await problemsAfter("llama3_tied", extra([61, 23]))).join(),
    /"lm_head\.weight" .* expected \(61,24\)/,
  );
});

/** What happens to a folder of shards, and what must be said. */
const SHARDS: readonly [what: string, change: (folder: string) => void, problems: readonly RegExp[]][] = [
  ["a missing shard", (folder) => Deno.removeSync(join(folder, "model-00002-of-00002.safetensors")), [
    /model-00002-of-00002\.safetensors: the file does not exist/,
    /is missing/,
  ]],
  ["an index that leads out of the folder", (folder) => {
    editIndex(folder, (map) => ({ ...map, "model.norm.weight": "../model.safetensors" }));
  }, [/"\.\.\/model\.safetensors", not a file of this folder/]],
  ["an index that leads out of the folder by a detour", (folder) => {
    editIndex(folder, (map) => ({ ...map, "model.norm.weight": "./a/../../model.safetensors" }));
  }, [/not a file of this folder/]],
  ["an index with an absolute path", (folder) => {
    editIndex(folder, (map) => ({ ...map, "model.norm.weight": "/etc/model.safetensors" }));
  }, [/"\/etc\/model\.safetensors", not a file of this folder/]],
  ["an index of pickled shards", (folder) => {
    editIndex(folder, (map) => ({ ...map, "model.norm.weight": "pytorch_model-00001-of-00002.bin" }));
  }, [/not a safetensors file/]],
  ["an index of too many files", (folder) => {
    editIndex(
      folder,
      () => Object.fromEntries(Array.from({ length: 1e5 }, (_, i) => [`t${i}`, `model-${i}.safetensors`])),
    );
  }, [/said to have 100000 files, more than the 10000 allowed/]],
  ["shards that are said to be a million", (folder) => {
    Deno.removeSync(join(folder, "model.safetensors.index.json"));
    Deno.renameSync(
      join(folder, "model-00001-of-00002.safetensors"),
      join(folder, "model-00001-of-1000000.safetensors"),
    );
  }, [/speaks of 1000000 files, more than the 10000 allowed/]],
  ["an index of a size that none has", (folder) => {
    Deno.truncateSync(join(folder, "model.safetensors.index.json"), 20 << 20);
  }, [/index\.json has 20971520 bytes, more than the 16777216 that such a file may have/]],
  ["an index that is no JSON", (folder) => {
    Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), "{");
  }, [/index\.json is not JSON/]],
  ["an index without a map", (folder) => {
    Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), "{}");
  }, [/index\.json has no weight_map/]],
  ["no index and a shard missing", (folder) => {
    Deno.removeSync(join(folder, "model.safetensors.index.json"));
    Deno.removeSync(join(folder, "model-00001-of-00002.safetensors"));
  }, [/model-00001-of-00002\.safetensors: the file does not exist/]],
  ["weights of another format only", (folder) => {
    for (const entry of [...Deno.readDirSync(folder)]) {
      if (entry.name.startsWith("model")) Deno.removeSync(join(folder, entry.name));
    }
    Deno.writeTextFileSync(join(folder, "pytorch_model.bin"), "");
  }, [/has no model\.safetensors.*it has pytorch_model\.bin: pickled weights are never read: load it with/]],
];

function editIndex(folder: string, change: (map: Fields) => Fields): void {
  editJson(join(folder, "model.safetensors.index.json"), (index) => ({
    ...index,
    weight_map: change(index["weight_map"] as Fields),
  }));
}

for (const [what, change, expected] of SHARDS) {
  Deno.test(`openCheckpoint() reports ${what}`, async () => {
    const problems = await problemsAfter("qwen2_tied", change);
    for (const problem of expected) assert.match(problems.join("\n"), problem);
  });
}

Deno.test("openCheckpoint() takes shards without an index", async () => {
  assert.deepEqual(
    await problemsAfter(
      "qwen2_tied",
      (folder) => Deno.removeSync(join(folder, "model.safetensors.index.json")),
    ),
    [],
  );
});

Deno.test("openCheckpoint() reports a folder that is not there, and one without a configuration", async () => {
  assert.throws(
    () => openCheckpoint("no/such/folder", referenceKernels()),
    /config\.json does not exist\n.*does not exist/,
  );
  const problems = await problemsAfter("llama_linear", (folder) => {
    Deno.removeSync(join(folder, "config.json"));
  });
  assert.equal(problems.length, 1);
  assert.match(
    (await problemsAfter("llama_linear", (folder) => {
      Deno.writeTextFileSync(join(folder, "config.json"), "[1]");
    })).join(),
    /config\.json is not a JSON object/,
  );
});

Deno.test("a model gives back all bytes when it is disposed", () => {
  const kernels = referenceKernels();
  {
    using model = openCheckpoint(modelFixture("llama_linear").dir, kernels);
    model.rope.get("rotary")!.rowsFor(Int32Array.of(0, 1, 2), Int32Array.of(0, 3));
    assert(heldBytes(kernels.ledger) > 0);
  }
  assert.equal(heldBytes(kernels.ledger), 0);
});

Deno.test("modelHash() changes with a weight and with the configuration, and with nothing else", async () => {
  const { dir } = modelFixture("llama_linear");
  const folder = await Deno.makeTempDir();
  const copy = () => {
    for (const name of ["config.json", "model.safetensors"]) {
      Deno.copyFileSync(join(dir, name), join(folder, name));
    }
  };
  copy();
  assert.equal(modelHash(folder), modelHash(dir));
  assert.match(modelHash(dir), /^[0-9a-f]{64}$/);
  editJson(join(folder, "config.json"), (fields) => ({ ...fields, rope_theta: 10001 }));
  assert.notEqual(modelHash(folder), modelHash(dir));
  copy();
  await rewrite(
    folder,
    (tensors) => tensors.map((t) => t.name === "model.norm.weight" ? zeros(t.name, t.shape) : t),
  );
  assert.notEqual(modelHash(folder), modelHash(dir));
  Deno.writeTextFileSync(join(folder, "three.txt"), "abc");
  // FIPS 180-2, appendix B.1.
  assert.equal(
    await fileHash(join(folder, "three.txt")),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
  await Deno.remove(folder, { recursive: true });
});
