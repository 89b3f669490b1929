// SPDX-License-Identifier: Apache-2.0
/** What a merged folder holds: the base's files but for its weights in other formats, its tensors, and an index where there are several. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import {
  type MergedModel,
  writeMergedCheckpoint,
  type WrittenCheckpoint,
} from "../../../lib/merge/merged_checkpoint.ts";
import { assertSame } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { plainSafetensors } from "../../fixtures/plain_safetensors.ts";

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
const UNCHANGED: MergedModel = { changes: [], config: {}, dtype: null };

/** Calls the body with a copy of a model's folder and an empty one. */
async function withCopy(name: string, body: (base: string, out: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const [base, out] = [join(folder, "base"), join(folder, "out")];
    for (const path of [base, out]) await Deno.mkdir(path);
    const { dir } = modelFixture(name);
    for (const entry of Deno.readDirSync(dir)) {
      await Deno.copyFile(join(dir, entry.name), join(base, entry.name));
    }
    await Deno.remove(join(base, "expected.safetensors"));
    await body(base, out);
  });
}

async function write(
  base: string,
  out: string,
  merged: Partial<MergedModel> = {},
): Promise<WrittenCheckpoint> {
  using model = openCheckpoint(base, referenceKernels());
  return await writeMergedCheckpoint(model, { ...UNCHANGED, ...merged }, out);
}

Deno.test("writeMergedCheckpoint() copies the base's other files, links followed, and no weights, index, README or hidden file", () =>
  withCopy("llama3_tied", async (base, out) => {
    const copied = ["tokenizer.json", "chat_template.jinja", "notes.txt", "vocab.index"];
    const left = [
      "pytorch_model.bin",
      "pytorch_model.bin.index.json",
      ..."pt pth gguf h5 msgpack onnx".split(" ").map((ending) => `model.${ending}`),
      "README.md",
      ".gitattributes",
    ];
    for (const name of [...copied, ...left]) await Deno.writeTextFile(join(base, name), `text of ${name}`);
    await Deno.symlink(join(base, "notes.txt"), join(base, "link.txt"));
    for (const folder of ["additional_chat_templates", "onnx"]) {
      await Deno.mkdir(join(base, folder));
      await Deno.writeTextFile(join(base, folder, "tool.jinja"), folder);
    }
    if (Deno.build.os === "linux") await new Deno.Command("mkfifo", { args: [join(base, "pipe")] }).output();
    await write(base, out);
    const made = ["additional_chat_templates", "config.json", "generation_config.json", "model.safetensors"];
    assert.deepEqual(namesIn(out), [...made, ...copied, "link.txt"].sort());
    for (const name of copied) assert.equal(await Deno.readTextFile(join(out, name)), `text of ${name}`);
    assert.ok((await Deno.lstat(join(out, "link.txt"))).isFile);
    assert.deepEqual(namesIn(join(out, "additional_chat_templates")), ["tool.jinja"]);
  }));

Deno.test("writeMergedCheckpoint() keeps files as they were, with an index that names the file and the bytes of all", () =>
  withCopy("qwen2_tied", async (base, out) => {
    const { tensors, changedTensors, bytes } = await write(base, out);
    const files = namesIn(base).filter((name) => name.endsWith(".safetensors"));
    assert.ok(files.length > 1);
    assert.deepEqual(namesIn(out), namesIn(base));
    const index = JSON.parse(await Deno.readTextFile(join(out, "model.safetensors.index.json")));
    const expected: Record<string, string> = {};
    let total = 0;
    for (const file of files) {
      const merged = plainSafetensors(join(out, file));
      assertSame(merged, plainSafetensors(join(base, file)));
      for (const [name, data] of merged) {
        expected[name] = file;
        total += data.length;
      }
    }
    assert.deepEqual(index, { metadata: { total_size: total }, weight_map: expected });
    assert.deepEqual([tensors, changedTensors, bytes], [Object.keys(expected).length, 0, total]);
  }));

Deno.test("writeMergedCheckpoint() changes the tensors that change, rounds once, and names the type in config.json", () =>
  withCopy("llama3_tied", async (base, out) => {
    const name = "model.layers.1.mlp.up_proj.weight";
    const change = { name, apply: (values: Float64Array) => values.forEach((x, i) => values[i] = x + i / 3) };
    const config = { intermediate_size: 99 };
    const written = await write(base, out, { changes: [change], config });
    assert.deepEqual([written.changedTensors, written.bytes], [1, 12672 * 4]);
    const [before, after] = [base, out].map((folder) => plainSafetensors(join(folder, "model.safetensors")));
    const floats = (bytes: Uint8Array | undefined) => new Float32Array(bytes!.slice().buffer);
    const expected = floats(before!.get(name)).map((x, i) => Math.fround(x + i / 3));
    assertSame(floats(after!.get(name)), expected);
    after!.set(name, before!.get(name)!);
    assertSame(after, before);
    const configOf = async (folder: string) =>
      JSON.parse(await Deno.readTextFile(join(folder, "config.json")));
    assert.deepEqual(await configOf(out), { ...await configOf(base), ...config });
  }));

Deno.test("writeMergedCheckpoint() stores all in another type, under the field that the base has for it", () =>
  withCopy("llama3_tied", async (base, out) => {
    const config = JSON.parse(await Deno.readTextFile(join(base, "config.json")));
    const ways = [["dtype", "bf16", "bfloat16"], ["torch_dtype", "f16", "float16"], [
      "dtype",
      "f32",
      "float32",
    ]] as const;
    for (const [field, dtype, said] of ways) {
      const { dtype: _, ...rest } = config;
      await Deno.writeTextFile(
        join(base, "config.json"),
        JSON.stringify({ ...rest, ...(field === "dtype" && { dtype: "x" }) }),
      );
      await Deno.remove(out, { recursive: true });
      await Deno.mkdir(out);
      const { bytes } = await write(base, out, { dtype });
      assert.equal(bytes, 12672 * (dtype === "f32" ? 4 : 2));
      assert.equal(JSON.parse(await Deno.readTextFile(join(out, "config.json")))[field], said);
    }
  }));
