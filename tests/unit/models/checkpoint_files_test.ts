// SPDX-License-Identifier: Apache-2.0
/**
 * Checkpoints as people have them on disk: every folder here holds the tensors of a fixture in another form, which transformers
 * 5.24 loads to the same logits; what it refuses, or passes over silently, is refused by name.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { ValidationError } from "../../../lib/core/errors.ts";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { readBytes, readTensor } from "../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import { numel } from "../../../lib/tensor/tensor.ts";
import { type TensorSource, writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { assertWithin } from "../../compare.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { asLmHead } from "../../../lib/models/heads/lm.ts";
import { embeddingOf } from "../../../lib/models/part_tensors.ts";
import { threadTimeMs } from "../../thread_time.ts";

type Fields = Record<string, unknown>;
type Edit = (folder: string) => Promise<void> | void;

const INDEX = "model.safetensors.index.json";
const HEAD = "lm_head.weight";
const EMBEDDING = "model.embed_tokens.weight";

interface Loaded {
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
  readonly logits: Float64Array;
  readonly tied: boolean;
}

/** Copies a checkpoint, lets `edit` alter it, and loads it. */
async function loadEdited(name: string, edit: Edit): Promise<Loaded> {
  const { dir, batch } = modelFixture(name);
  const folder = await Deno.makeTempDir();
  try {
    for (const entry of Deno.readDirSync(dir)) {
      if (entry.name === "expected.safetensors") continue;
      Deno.copyFileSync(join(dir, entry.name), join(folder, entry.name));
    }
    await edit(folder);
    using model = openCheckpoint(folder, referenceKernels());
    const { data } = await forwardLogits(model, batch, {});
    return {
      problems: [],
      warnings: model.warnings,
      logits: Float64Array.from(data),
      tied: asLmHead(model.parts.head).weight === embeddingOf(model.parts.stacks[0]),
    };
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    return { problems: error.problems, warnings: [], logits: new Float64Array(), tied: false };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Rewrites the one weight file of a folder. */
const rewrite = (change: (tensors: TensorSource[]) => TensorSource[]): Edit => async (folder) => {
  const path = join(folder, "model.safetensors");
  const tensors = [...readSafetensorsHeader(path).tensors.values()].map((entry): TensorSource => ({
    ...entry,
    data: readBytes(entry),
  }));
  await writeSafetensors(path, change(tensors));
};

const renamed = (rename: (name: string) => string): Edit =>
  rewrite((tensors) => tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) })));

const added = (...more: TensorSource[]): Edit => rewrite((tensors) => [...tensors, ...more]);

const without = (name: string): Edit =>
  rewrite((tensors) => tensors.filter((tensor) => tensor.name !== name));

const zeros = (name: string, shape: readonly number[]): TensorSource => ({
  name,
  dtype: "f32",
  shape,
  data: new Float32Array(numel(shape)),
});

const floats = ({ data }: TensorSource): Float32Array =>
  new Float32Array((data as Uint8Array).slice().buffer);

/** Stores a head beside a tied embedding: its values, changed by `change`. */
const withHead = (change: (values: Float32Array) => void): Edit =>
  rewrite((tensors) => {
    const embedding = tensors.find((tensor) => tensor.name === EMBEDDING) as TensorSource;
    const values = floats(embedding);
    change(values);
    return [...tensors, { ...embedding, name: HEAD, data: values }];
  });

type Index = Fields & { readonly weight_map: Readonly<Record<string, string>> };

const editIndex = (change: (index: Index) => Fields): Edit => (folder) => {
  const path = join(folder, INDEX);
  Deno.writeTextFileSync(path, JSON.stringify(change(JSON.parse(Deno.readTextFileSync(path)))));
};

const editMap = (change: (name: string, file: string) => [string, string][]): Edit =>
  editIndex((index) => {
    const entries = Object.entries(index.weight_map).flatMap(([name, file]) => change(name, file));
    return { ...index, weight_map: Object.fromEntries(entries) };
  });

/** The same header with other metadata. */
const withMetadata = (metadata: unknown): Edit => (folder) => {
  const path = join(folder, "model.safetensors");
  const bytes = Deno.readFileSync(path);
  const headerBytes = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, headerBytes)));
  const json = new TextEncoder().encode(JSON.stringify({ ...header, __metadata__: metadata }));
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(json.length), true);
  Deno.writeFileSync(path, new Uint8Array([...prefix, ...json, ...bytes.subarray(headerBytes)]));
};

/** As the hub's cache has it: files are links to blobs. */
const asInCache: Edit = (folder) => {
  Deno.mkdirSync(join(folder, "blobs"));
  for (const { name, isFile } of [...Deno.readDirSync(folder)]) {
    if (!isFile) continue;
    Deno.renameSync(join(folder, name), join(folder, "blobs", `blob-of-${name}`));
    Deno.symlinkSync(join("blobs", `blob-of-${name}`), join(folder, name));
  }
};

const intoFolder: Edit = async (folder) => {
  Deno.mkdirSync(join(folder, "weights"));
  for (const { name } of [...Deno.readDirSync(folder)]) {
    if (/^model-.*safetensors$/.test(name)) {
      Deno.renameSync(join(folder, name), join(folder, "weights", name));
    }
  }
  await editMap((name, file) => [[name, `weights/${file}`]])(folder);
};

const NORM = "model.norm.weight";
const FIRST_SHARD = "model-00001-of-00002.safetensors";

/** Forms, and what is said of each; none changes what the model computes. */
const FORMS: readonly [what: string, fixture: string, edit: Edit, warning?: RegExp][] = [
  ["names without model.", "llama_linear", renamed((name) => name.replace(/^model\./, ""))],
  ["names with model. twice, and before the head", "llama_linear", renamed((name) => `model.${name}`)],
  ["a tensor of size 0", "llama_linear", added(zeros("x", [0, 3])), /no part of the model .*: "x"$/],
  [
    "a tensor of size 0 inside it",
    "llama_linear",
    added(zeros("model.layers.0.x", [0])),
    /"model\.layers\.0\.x"$/,
  ],
  [
    "a value head",
    "llama_linear",
    added(zeros("v_head.summary.weight", [1, 24])),
    /"v_head\.summary\.weight"$/,
  ],
  ["a vision tower", "llama_linear", added(zeros("model.vision_tower.x", [2])), /"model\.vision_tower\.x"$/],
  [
    "tables and masks of older writers",
    "llama_linear",
    added(
      zeros("model.layers.0.self_attn.rotary_emb.inv_freq", [3]),
      zeros("rotary_emb.inv_freq", [3]),
      zeros("model.layers.1.self_attn.masked_bias", []),
    ),
  ],
  ["metadata that is null", "llama_linear", withMetadata(null)],
  ["metadata with a null value", "llama_linear", withMetadata({ format: "pt", note: null })],
  ["no metadata", "llama_linear", withMetadata({})],
  ["links into a cache of blobs", "llama_linear", asInCache],
  ["shards that are links into a cache", "qwen2_tied", asInCache],
  ["an index with ./ before all files", "qwen2_tied", editMap((name, file) => [[name, `./${file}`]])],
  [
    "an index with ./ before some files",
    "qwen2_tied",
    editMap((name, file) => [[name, name.includes("norm") ? `.//${file}` : file]]),
  ],
  ["an index of files in a folder inside", "qwen2_tied", intoFolder],
  ["an index without metadata", "qwen2_tied", editIndex(({ weight_map }) => ({ weight_map }))],
  [
    "an index that omits a tensor",
    "qwen2_tied",
    editMap((name, file) => name === NORM ? [] : [[name, file]]),
    /does not name tensors that its files have, which are used: "model\.norm\.weight"$/,
  ],
  [
    "an index that names a tensor nobody has",
    "qwen2_tied",
    editMap((name, file) => name === NORM ? [[name, file], ["model.ghost", file]] : [[name, file]]),
    /names tensors that its files lack: "model\.ghost"$/,
  ],
  [
    "an index that places a tensor in another shard",
    "qwen2_tied",
    editMap((name, file) => [[name, name === NORM ? FIRST_SHARD : file]]),
    /places tensors in another file than the one they are in: "model\.norm\.weight"$/,
  ],
  [
    "other files beside the shards",
    "qwen2_tied",
    (folder) => {
      for (const name of ["consolidated", "pytorch_model", "model-00003-of-00003"]) {
        Deno.writeTextFileSync(join(folder, `${name}.safetensors`), "not read");
      }
    },
  ],
];

for (const [what, fixture, edit, warning] of FORMS) {
  Deno.test(`openCheckpoint() takes a checkpoint with ${what}, and computes the same`, async () => {
    const { problems, warnings, logits } = await loadEdited(fixture, edit);
    assert.deepEqual(problems, []);
    assertWithin("logits", logits, modelFixture(fixture).expected("logits"), 1e-9);
    assert.equal(warnings.length, warning === undefined ? 0 : 1, warnings.join("\n"));
    if (warning !== undefined) assert.match(warnings[0] as string, warning);
  });
}

/** Heads beside a tied embedding, and whether transformers ties them. */
const HEADS: readonly [what: string, edit: Edit, tied: boolean][] = [
  ["of the same values", withHead(() => {}), true],
  ["that differs in its last element", withHead((values) => values[values.length - 1] = 1), false],
  ["of zeros", withHead((values) => values.fill(0)), false],
];

for (const [what, edit, tied] of HEADS) {
  Deno.test(`openCheckpoint() ${tied ? "ties" : "does not tie"} a stored head ${what} to the embedding`, async () => {
    const { problems, warnings, logits, ...found } = await loadEdited("llama3_tied", edit);
    assert.deepEqual(problems, []);
    assert.equal(found.tied, tied);
    const expected = modelFixture("llama3_tied").expected("logits");
    if (tied) assertWithin("logits", logits, expected, 1e-9);
    else {assert.match(
        warnings.join(),
        /"lm_head\.weight" differs from "model\.embed_tokens\.weight".*untied/,
      );}
    if (what === "of zeros") assert(logits.every((logit) => logit === 0));
  });
}

Deno.test("openCheckpoint() ties heads that differ in the sign of zeros alone, and in their type", async () => {
  const signs: Edit = async (folder) => {
    await rewrite((tensors) =>
      tensors.map((tensor) => {
        if (tensor.name !== EMBEDDING) return tensor;
        const values = floats(tensor);
        values[0] = 0;
        return { ...tensor, data: values };
      })
    )(folder);
    await withHead((values) => values[0] = -0)(folder);
  };
  assert.equal((await loadEdited("llama3_tied", signs)).tied, true);
  const wider: Edit = async (folder) => {
    const entry = readSafetensorsHeader(join(folder, "model.safetensors")).tensors.get(EMBEDDING);
    assert(entry !== undefined);
    const data = Float64Array.from(readTensor(entry, "f32"));
    await added({ name: HEAD, dtype: "f64", shape: entry.shape, data })(folder);
  };
  assert.equal((await loadEdited("llama3_tied", wider)).tied, true);
});

const noTensors: Edit = (folder) => writeSafetensors(join(folder, "model.safetensors"), []);

const asFp8 = (part: string): Edit =>
  rewrite((tensors) =>
    tensors.map((tensor) => {
      if (!tensor.name.includes(part)) return tensor;
      return { ...tensor, dtype: "f8_e4m3", data: new Uint8Array(numel(tensor.shape)) };
    })
  );

/** What is refused, and the sentences about it. */
const REFUSED: readonly [what: string, fixture: string, edit: Edit, problems: readonly RegExp[]][] = [
  ["a head of another shape", "llama3_tied", added(zeros(HEAD, [61, 23])), [
    /"lm_head\.weight" .* expected \(61,24\)/,
  ]],
  ["an empty head", "llama3_tied", added(zeros(HEAD, [0])), [/"lm_head\.weight" .* has shape \(0\)/]],
  [
    "no head that is not tied either",
    "llama_linear",
    without(HEAD),
    [/"lm_head\.weight" \(61,24\) is missing: the checkpoint is of a model without a head/],
  ],
  ["no embedding", "llama_linear", without(EMBEDDING), [
    /"model\.embed_tokens\.weight" \(61,24\) is missing/,
  ]],
  [
    "biases that the configuration has no place for",
    "llama_linear",
    added(zeros("model.layers.0.self_attn.q_proj.bias", [24]), zeros("lm_head.bias", [61])),
    [/"model\.layers\.0\.self_attn\.q_proj\.bias" .* is unknown/, /"lm_head\.bias" .* is unknown/],
  ],
  [
    "a name with and without model.",
    "llama_linear",
    added(zeros("norm.weight", [24])),
    [/Tensors "model\.norm\.weight" and "norm\.weight" both stand for "model\.norm\.weight"/],
  ],
  ["no tensors", "llama_linear", noTensors, [/has weight files without tensors/]],
  [
    "fp8 weights",
    "llama_linear",
    asFp8("layers.0.mlp.up_proj"),
    [/"model\.layers\.0\.mlp\.up_proj\.weight" .* is f8_e4m3: the reference backend reads/],
  ],
];

for (const [what, fixture, edit, expected] of REFUSED) {
  Deno.test(`openCheckpoint() refuses a checkpoint with ${what}, by name`, async () => {
    const { problems } = await loadEdited(fixture, edit);
    assert.equal(problems.length, expected.length, problems.join("\n"));
    expected.forEach((wanted, i) => assert.match(problems[i] as string, wanted));
  });
}

Deno.test("openCheckpoint() of thousands of layers beside a small checkpoint fails at once, in few sentences", async () => {
  const edit: Edit = (folder) => {
    const path = join(folder, "config.json");
    const fields = JSON.parse(Deno.readTextFileSync(path));
    Deno.writeTextFileSync(path, JSON.stringify({ ...fields, num_hidden_layers: 9000 }));
  };
  const start = threadTimeMs();
  const { problems } = await loadEdited("llama_linear", edit);
  assert(threadTimeMs() - start < 10_000); // a list that is searched for each tensor takes minutes
  assert.equal(problems.length, 11, problems.join("\n"));
  assert.match(problems[0] as string, /"model\.layers\.2\.input_layernorm\.weight" \(24\) is missing/);
  assert.match(problems[10] as string, /^80972 more tensors like the last of these$/);
});

Deno.test("openCheckpoint() names ten problems of a kind, and counts the eleventh", async () => {
  const edit: Edit = (folder) => {
    const path = join(folder, "config.json");
    const fields = JSON.parse(Deno.readTextFileSync(path));
    // A layer of this family has eleven tensors.
    Deno.writeTextFileSync(
      path,
      JSON.stringify({ ...fields, num_hidden_layers: fields.num_hidden_layers + 1, layer_types: null }),
    );
  };
  const { problems } = await loadEdited("qwen3_head_alone", edit);
  assert.equal(problems.length, 11, problems.join("\n"));
  assert.match(problems[9] as string, /is missing$/);
  assert.equal(problems[10], "1 more tensors like the last of these");
});
