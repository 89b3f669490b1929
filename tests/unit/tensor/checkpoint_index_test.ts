// SPDX-License-Identifier: Apache-2.0
/** Which files of a folder are a checkpoint's weights, and what is wrong with them. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { indexCheckpoint } from "../../../lib/tensor/checkpoint_index.ts";
import { withFolder } from "../../fixtures/folder.ts";

/** A safetensors file of these tensors, one byte each. */
function weights(...names: string[]): Uint8Array<ArrayBuffer> {
  const header = Object.fromEntries(
    names.map((name, i) => [name, { dtype: "U8", shape: [1], data_offsets: [i, i + 1] }]),
  );
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + names.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const INDEX = "model.safetensors.index.json";
type Files = Readonly<Record<string, Uint8Array<ArrayBuffer> | string | Record<string, unknown>>>;

/** An index that says where tensors lie. */
const placed = (weight_map: Record<string, unknown>): Record<string, unknown> => ({
  metadata: {},
  weight_map,
});

interface Found {
  /** Names of files that were read. */
  readonly files: string[];
  /** File of each tensor. */
  readonly tensors: Record<string, string>;
  /** Without the path of the folder. */
  readonly problems: string[];
  readonly warnings: string[];
}

async function found(files: Files): Promise<Found> {
  const results: Found[] = [];
  await withFolder((folder) => {
    for (const [name, content] of Object.entries(files)) {
      Deno.mkdirSync(join(folder, dirname(name)), { recursive: true });
      const isText = typeof content === "string" || !(content instanceof Uint8Array);
      if (isText) {
        Deno.writeTextFileSync(
          join(folder, name),
          typeof content === "string" ? content : JSON.stringify(content),
        );
      } else Deno.writeFileSync(join(folder, name), content);
    }
    const [problems, warnings]: [string[], string[]] = [[], []];
    const index = indexCheckpoint(folder, problems, warnings);
    const inside = (path: string) => path.replace(`${folder}/`, "");
    results.push({
      files: index.files.map(({ path }) => inside(path)),
      tensors: Object.fromEntries([...index.tensors].map(([name, { path }]) => [name, inside(path)])),
      problems: problems.map((text) => text.replaceAll(`${folder}/`, "").replaceAll(folder, "FOLDER")),
      warnings,
    });
  });
  return results[0]!;
}

Deno.test("indexCheckpoint() takes model.safetensors before an index, and an index before shards", async () => {
  const shards = { "model-1-of-2.safetensors": weights("a"), "model-2-of-2.safetensors": weights("b") };
  const index = { [INDEX]: placed({ c: "other.safetensors" }), "other.safetensors": weights("c") };
  const all = await found({ "model.safetensors": weights("x"), ...shards, ...index });
  assert.deepEqual(all, {
    files: ["model.safetensors"],
    tensors: { x: "model.safetensors" },
    problems: [],
    warnings: [],
  });
  assert.deepEqual((await found({ ...shards, ...index })).files, ["other.safetensors"]);
  assert.deepEqual((await found(shards)).tensors, {
    a: "model-1-of-2.safetensors",
    b: "model-2-of-2.safetensors",
  });
});

Deno.test("indexCheckpoint() reads the files that an index names by name, each once, in folders below too", async () => {
  const { files, problems, warnings } = await found({
    [INDEX]: placed({ b: "z.safetensors", a: "./below/y.safetensors", c: "below/../z.safetensors" }),
    "z.safetensors": weights("b", "c"),
    "below/y.safetensors": weights("a"),
  });
  assert.deepEqual({ files, problems, warnings }, {
    files: ["below/y.safetensors", "z.safetensors"],
    problems: [],
    warnings: [],
  });
});

Deno.test("indexCheckpoint() warns where an index says other than its files, and believes the files", async () => {
  const { tensors, problems, warnings } = await found({
    [INDEX]: placed({ a: "1.safetensors", b: "1.safetensors", gone: "1.safetensors" }),
    "1.safetensors": weights("a", "unnamed"),
    "2.safetensors": weights("b"),
  });
  assert.deepEqual([tensors, problems], [{ a: "1.safetensors", unnamed: "1.safetensors" }, []]);
  assert.deepEqual(warnings, [
    `${INDEX} names tensors that its files lack: "b", "gone"`,
    `${INDEX} does not name tensors that its files have, which are used: "unnamed"`,
  ]);
  const moved = await found({
    [INDEX]: placed({ a: "2.safetensors", b: "1.safetensors" }),
    "1.safetensors": weights("a"),
    "2.safetensors": weights("b"),
  });
  assert.deepEqual(moved.warnings, [
    `${INDEX} places tensors in another file than the one they are in: "a", "b"`,
  ]);
  // Of files that cannot be read nothing is known.
  const broken = await found({
    [INDEX]: placed({ a: "1.safetensors", b: "2.safetensors" }),
    "1.safetensors": weights("x"),
  });
  assert.deepEqual(broken.warnings, []);
  assert.match(broken.problems.join(), /2\.safetensors.*does not exist/);
});

Deno.test("indexCheckpoint() finds shards without an index by the numbers in their names, and says which are missing", async () => {
  const padded = await found({ "model-00002-of-00003.safetensors": weights("b") });
  assert.deepEqual(padded.files, ["model-00002-of-00003.safetensors"]);
  assert.equal(padded.problems.length, 2);
  assert.match(padded.problems[0]!, /model-00001-of-00003\.safetensors.*does not exist/);
  assert.match(padded.problems[1]!, /model-00003-of-00003\.safetensors.*does not exist/);
  const mixed = await found({
    "model-1-of-2.safetensors": weights("a"),
    "model-2-of-2.safetensors": weights("b"),
    "model-1-of-3.safetensors": weights("c"),
  });
  assert.match(
    mixed.problems.join(),
    /FOLDER has shards of different sets: "model-1-of-2\.safetensors", "model-1-of-3/,
  );
  const many = await found({ "model-1-of-10001.safetensors": weights("a") });
  assert.deepEqual(many.problems, [
    "model-1-of-10001.safetensors speaks of 10001 files, more than the 10000 allowed",
  ]);
});

Deno.test("indexCheckpoint() reads no more files than any checkpoint has, whatever an index names", async () => {
  const named = (count: number) =>
    placed(Object.fromEntries(Array.from({ length: count }, (_, i) => [i, `${i}.safetensors`])));
  const { problems } = await found({ [INDEX]: named(10_001) });
  assert.deepEqual(problems, ["The checkpoint is said to have 10001 files, more than the 10000 allowed"]);
});

Deno.test("indexCheckpoint() follows no path out of the folder, and reads nothing but safetensors", async () => {
  const paths = [
    "../x.safetensors",
    "/x.safetensors",
    "a/../../x.safetensors",
    "..",
    "a\\x.safetensors",
    "c:x.safetensors",
    "a\0.safetensors",
    3,
    null,
  ];
  const outside = await found({
    [INDEX]: placed(Object.fromEntries(paths.map((path, i) => [`t${i}`, path]))),
  });
  assert.equal(
    outside.problems.filter((text) => text.endsWith("not a file of this folder")).length,
    paths.length,
  );
  assert.deepEqual(outside.files, []);
  const other = await found({ [INDEX]: placed({ t: "x.bin" }), "x.bin": "pickle" });
  assert.equal(other.problems[0], `${INDEX} places tensor "t" in "x.bin", not a safetensors file`);
  const inside = await found({ [INDEX]: placed({ t: "..x.safetensors" }), "..x.safetensors": weights("t") });
  assert.deepEqual(inside.problems, []);
});

Deno.test("indexCheckpoint() says what is wrong with an index", async () => {
  for (
    const index of [{}, { weight_map: {} }, { weight_map: ["a"] }, { weight_map: "a" }, { weight_map: null }]
  ) {
    assert.deepEqual((await found({ [INDEX]: index })).problems, [
      `${INDEX} has no weight_map of tensor names to file names`,
    ]);
  }
  assert.match((await found({ [INDEX]: "[1" })).problems.join(), /is not JSON/);
  await withFolder((folder) => {
    Deno.writeTextFileSync(join(folder, INDEX), "");
    Deno.truncateSync(join(folder, INDEX), (16 << 20) + 1);
    const problems: string[] = [];
    indexCheckpoint(folder, problems);
    assert.match(problems.join(), /more than|longer/);
  });
});

Deno.test("indexCheckpoint() names a tensor that two files have, and files without any", async () => {
  const twice = await found({
    "model-1-of-2.safetensors": weights("a", "b"),
    "model-2-of-2.safetensors": weights("b"),
  });
  assert.deepEqual(twice.problems, [
    'Tensor "b" is both in model-1-of-2.safetensors and in model-2-of-2.safetensors',
  ]);
  assert.deepEqual((await found({ "model.safetensors": weights() })).problems, [
    "FOLDER has weight files without tensors",
  ]);
  // That follows from what is wrong already.
  assert.equal((await found({ "model.safetensors": "short" })).problems.length, 1);
});

Deno.test("indexCheckpoint() of a folder without safetensors says what else there is, and what to do with it", async () => {
  const advice: Readonly<Record<string, RegExp>> = {
    "pytorch_model.bin":
      /pickled weights are never read: load it with transformers and save_pretrained it again/,
    "pytorch_model-00001-of-00002.bin": /pickled weights/,
    "pytorch_model.bin.index.json": /pickled weights/,
    "adapter_model.safetensors": /that is an adapter: give the folder of its base model/,
    "adapter_model.bin": /that is an adapter/,
    "consolidated.00.pth": /those are weights under their makers' own names/,
    "consolidated.safetensors": /those are weights under their makers' own names/,
    "model.Q4_K_M.gguf": /GGUF is not supported/,
    "model.ckpt": /only safetensors are read/,
    "weights.safetensors": /weights are looked for under model\.safetensors, or in shards/,
  };
  for (const [name, reason] of Object.entries(advice)) {
    const { problems } = await found({ [name]: "x" });
    assert.equal(problems.length, 1);
    assert.ok(
      problems[0]!.startsWith(`FOLDER has no model.safetensors and no ${INDEX}; it has ${name}: `),
      problems[0],
    );
    assert.match(problems[0]!, reason);
  }
  assert.deepEqual((await found({ "notes.txt": "x" })).problems, [
    `FOLDER has no model.safetensors and no ${INDEX}`,
  ]);
  const problems: string[] = [];
  indexCheckpoint("/nowhere/at/all", problems);
  assert.deepEqual(problems, ["Folder /nowhere/at/all does not exist"]);
});
