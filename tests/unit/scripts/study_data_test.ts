// SPDX-License-Identifier: Apache-2.0
/** What the shipped studies read of packages: GGUF models, SWORD's texts, and the parts made of them. */
import assert from "node:assert/strict";
import { deflateSync } from "node:zlib";
import { floatToF16 } from "../../../lib/core/half.ts";
import { ggufFloats, type GgufValue, readGguf } from "../../../scripts/study/gguf.ts";
import { halvesApart, writeLlama } from "../../../scripts/study/smollm2.ts";
import { plainText, readSwordBooks } from "../../../scripts/study/sword.ts";
import { splitVerses, VERSE_PARTS } from "../../../scripts/study/verses.ts";
import { readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import { withFolder } from "../../fixtures/folder.ts";

/** Pieces of a file, little-endian. */
function bytesOf(
  ...parts: readonly (readonly ["u8" | "u16" | "u32" | "u64" | "f32", number] | Uint8Array)[]
): Uint8Array {
  const pieces = parts.map((part) => {
    if (part instanceof Uint8Array) return part;
    const view = new DataView(new ArrayBuffer(8));
    const [kind, value] = part;
    if (kind === "u8") view.setUint8(0, value);
    if (kind === "u16") view.setUint16(0, value, true);
    if (kind === "u32") view.setUint32(0, value, true);
    if (kind === "u64") view.setBigUint64(0, BigInt(value), true);
    if (kind === "f32") view.setFloat32(0, value, true);
    return new Uint8Array(view.buffer, 0, { u8: 1, u16: 2, u32: 4, u64: 8, f32: 4 }[kind]);
  });
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

function textOf(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  return bytesOf(["u64", bytes.length], bytes);
}

/** A value with its kind before it: whole numbers as u32, others as f32. */
function valueOf(value: GgufValue): { readonly kind: number; readonly bytes: Uint8Array } {
  if (typeof value === "string") return { kind: 8, bytes: textOf(value) };
  if (typeof value === "boolean") return { kind: 7, bytes: bytesOf(["u8", Number(value)]) };
  if (typeof value === "number") {
    return Number.isInteger(value)
      ? { kind: 4, bytes: bytesOf(["u32", value]) }
      : { kind: 6, bytes: bytesOf(["f32", value]) };
  }
  const items = value.map(valueOf);
  return {
    kind: 9,
    bytes: bytesOf(["u32", items[0]?.kind ?? 4], ["u64", items.length], ...items.map(({ bytes }) => bytes)),
  };
}

interface Stored {
  readonly name: string;
  /** As the file has it: rows last. */
  readonly sizes: readonly number[];
  readonly type: number;
  readonly data: Uint8Array;
}

function makeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly Stored[],
): Uint8Array<ArrayBuffer> {
  const values = Object.entries(metadata).map(([key, value]) => {
    const { kind, bytes } = valueOf(value);
    return bytesOf(textOf(key), ["u32", kind], bytes);
  });
  let start = 0;
  const places = tensors.map(({ name, sizes, type, data }) => {
    const place = bytesOf(
      textOf(name),
      ["u32", sizes.length],
      ...sizes.map((size) => ["u64", size] as const),
      ["u32", type],
      ["u64", start],
    );
    start += Math.ceil(data.length / 32) * 32;
    return place;
  });
  const magic = new TextEncoder().encode("GGUF");
  const counts = [["u32", 3], ["u64", tensors.length], ["u64", values.length]] as const;
  const head = bytesOf(magic, ...counts, ...values, ...places);
  const padded = (bytes: Uint8Array) => bytesOf(bytes, new Uint8Array(-bytes.length & 31));
  return Uint8Array.from(
    [padded(head), ...tensors.map(({ data }) => padded(data))].flatMap((part) => [...part]),
  );
}

const f32 = (...values: number[]) => bytesOf(...values.map((value) => ["f32", value] as const));

Deno.test("ggufFloats() reads f32, f16, and blocks of 4 and 8 bits as ggml defines them", () => {
  const nibbles = Uint8Array.from({ length: 16 }, (_, i) => i | (15 - i) << 4);
  const q4 = bytesOf(["u16", floatToF16(0.5)], ["u16", floatToF16(-2)], nibbles);
  const q8 = bytesOf(["u16", floatToF16(0.25)], Uint8Array.from({ length: 32 }, (_, i) => i - 16));
  const gguf = readGguf(makeGguf({ "general.architecture": "llama", list: [1, 2], flag: true, deep: 0.5 }, [
    { name: "a", sizes: [3, 2], type: 0, data: f32(1, 2, 3, 4, 5, 6) },
    { name: "b", sizes: [2], type: 1, data: bytesOf(["u16", floatToF16(1.5)], ["u16", floatToF16(-3)]) },
    { name: "c", sizes: [32, 2], type: 3, data: bytesOf(q4, q4) },
    { name: "d", sizes: [32], type: 8, data: q8 },
    { name: "e", sizes: [32], type: 2, data: new Uint8Array(18) },
  ]));
  assert.deepEqual([...gguf.metadata], [
    ["general.architecture", "llama"],
    ["list", [1, 2]],
    ["flag", true],
    ["deep", 0.5],
  ]);
  const [a, b, c, d, e] = gguf.tensors;
  assert.ok(a && b && c && d && e);
  assert.deepEqual(a.shape, [2, 3], "rows first");
  assert.deepEqual([...ggufFloats(gguf, a)], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([...ggufFloats(gguf, b)], [1.5, -3]);
  const low = Array.from({ length: 16 }, (_, i) => 0.5 * i - 2);
  const block = [...low, ...low.toReversed()];
  assert.deepEqual([...ggufFloats(gguf, c)], [...block, ...block]);
  assert.deepEqual([...ggufFloats(gguf, d)], Array.from({ length: 32 }, (_, i) => 0.25 * (i - 16)));
  assert.throws(() => ggufFloats(gguf, e), /tensor e .* kind 2/);
  assert.throws(() => readGguf(new Uint8Array(16)), /no GGUF/);
});

Deno.test("halvesApart() puts the halves that a rotary embedding turns one after the other, head by head", () => {
  // Two heads of four rows of one number: llama.cpp's 0 2 1 3 is 0 1 2 3 of a checkpoint.
  const stored = Float32Array.of(0, 2, 1, 3, 4, 6, 5, 7);
  assert.deepEqual([...halvesApart(stored, [8, 1], 2)], [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual([...halvesApart(Float32Array.of(1, 2, 3, 4), [2, 2], 1)], [1, 2, 3, 4]);
});

Deno.test("writeLlama() makes a checkpoint under the names of a llama, and refuses a tensor that no llama has", () =>
  withFolder(async (folder) => {
    const metadata = {
      ...{ "llama.embedding_length": 2, "llama.feed_forward_length": 2, "llama.block_count": 1 },
      ...{ "llama.attention.head_count": 1, "llama.attention.head_count_kv": 1, "llama.context_length": 8 },
      ...{ "llama.attention.layer_norm_rms_epsilon": 1.0000000656873453e-5, "llama.rope.freq_base": 10000.5 },
      ...{
        "tokenizer.ggml.tokens": ["<s>", "a"],
        "tokenizer.ggml.token_type": [3, 1],
        "tokenizer.ggml.merges": ["a b"],
      },
      ...{
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 0,
      },
      ...{ "tokenizer.ggml.padding_token_id": 0, "tokenizer.chat_template": "{{ messages }}" },
    };
    const tensor = (name: string, ...values: number[]): Stored => ({
      name,
      sizes: [2, values.length / 2],
      type: 0,
      data: f32(...values),
    });
    const tensors = [tensor("token_embd.weight", 1, 2, 3, 4), tensor("blk.0.attn_q.weight", 5, 6, 7, 8)];
    await writeLlama(readGguf(makeGguf(metadata, tensors)), `${folder}/model`);
    const config = JSON.parse(await Deno.readTextFile(`${folder}/model/config.json`));
    assert.deepEqual(
      [config.rms_norm_eps, config.tie_word_embeddings, config.vocab_size, config.rope_theta],
      [1e-5, true, 2, 10000.5],
    );
    const tokenizer = JSON.parse(await Deno.readTextFile(`${folder}/model/tokenizer.json`));
    assert.deepEqual(tokenizer.model.merges, [["a", "b"]]);
    assert.deepEqual(tokenizer.added_tokens.map(({ content }: { content: string }) => content), ["<s>"]);
    const { tensors: written } = readSafetensorsHeader(`${folder}/model/model.safetensors`);
    const names = [...written.keys()].sort();
    assert.deepEqual(names, ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"]);
    const foreign = readGguf(makeGguf(metadata, [tensor("blk.0.ssm_in.weight", 1, 2)]));
    await assert.rejects(writeLlama(foreign, `${folder}/other`), /blk\.0\.ssm_in\.weight/);
  }));

Deno.test("plainText() drops marks, titles and notes, and keeps words that a translation added apart", () => {
  assert.equal(
    plainText(
      '<title type="main">Joel</title><w lemma="a">Y FUÉ</w><transChange type="added">que</transChange><w>á los</w> &amp; más<note>see <b>x</b></note>.\n',
    ),
    "Y FUÉ que á los & más.",
  );
});

/** Files of a testament: a block a book, an empty entry before the verses of each. */
function writeTestament(path: string, books: readonly (readonly string[])[]): void {
  const [starts, verses, packed]: [Uint8Array[], Uint8Array[], Uint8Array[]] = [[], [], []];
  let at = 0;
  for (const [block, book] of books.entries()) {
    const texts = book.map((text) => new TextEncoder().encode(text));
    const whole = Uint8Array.from(texts.flatMap((text) => [...text]));
    const bytes = new Uint8Array(deflateSync(whole));
    starts.push(bytesOf(["u32", at], ["u32", bytes.length], ["u32", whole.length]));
    packed.push(bytes);
    at += bytes.length;
    let start = 0;
    verses.push(bytesOf(["u32", block], ["u32", 0], ["u16", 0]));
    for (const { length } of texts) {
      verses.push(bytesOf(["u32", block], ["u32", start], ["u16", length]));
      start += length;
    }
  }
  for (const [name, parts] of [["bzs", starts], ["bzv", verses], ["bzz", packed]] as const) {
    Deno.writeFileSync(`${path}.${name}`, Uint8Array.from(parts.flatMap((part) => [...part])));
  }
}

Deno.test("readSwordBooks() reads the books of both testaments in order, without verses that say nothing", () =>
  withFolder(async (folder) => {
    writeTestament(`${folder}/ot`, [["<chapter n='1'/>", "<w>Árbol</w> uno.", "dos"], ["tres"]]);
    writeTestament(`${folder}/nt`, [["<chapter n='1'/>"], ["cuatro"]]);
    assert.deepEqual(await readSwordBooks(folder), [["Árbol uno.", "dos"], ["tres"], ["cuatro"]]);
  }));

Deno.test("splitVerses() has no book in two parts, and the same verses each time", () => {
  const books = Array.from({ length: 66 }, (_, book) => Array.from({ length: 40 }, (_, i) => `${book}:${i}`));
  const parts = splitVerses(books);
  assert.deepEqual(
    [...parts.values()].map((rows) => rows.length),
    Object.values(VERSE_PARTS).map(({ rows }) => rows),
  );
  const seen = [...parts.values()].map((rows) => new Set(rows.map((row) => row.split(":")[0])));
  assert.equal(new Set(seen.flatMap((one) => [...one])).size, seen.reduce((sum, { size }) => sum + size, 0));
  assert.deepEqual(splitVerses(books), parts);
});
