// SPDX-License-Identifier: Apache-2.0
/** Files that are wrong in any way give one clear error, at once: some would end the process inside the library. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { LONGEST_TEXT, longestTextUnder } from "../../../lib/data/pattern_cost.ts";
import { createTokenizer } from "../../../lib/data/tokenizer.ts";
import { readPacked } from "./fixtures.ts";
import { threadTimeMs } from "../../thread_time.ts";

type Fields = Record<string, unknown>;

const BPE = { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: [["a", "b"]] };
const added = (id: unknown, content: unknown): Fields => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

function make(fields: Fields) {
  return createTokenizer({ tokenizer: JSON.stringify({ model: BPE, ...fields }) }, "tiny");
}

async function refuses(fields: Fields, message: RegExp): Promise<void> {
  const start = threadTimeMs();
  await assert.rejects(make(fields), (error: Error) => {
    assert.match(error.message, /tokenizer.json of "tiny"/);
    assert.match(error.message, message);
    return true;
  });
  assert(threadTimeMs() - start < 1000, "at once");
}

Deno.test("createTokenizer() refuses ids that are no whole numbers, negative, doubled, huge or nobody's", async () => {
  const ids: [unknown, RegExp][] = [
    [1.5, /"b" the id 1.5/],
    [-1, /"b" the id -1/],
    [1e15, /"b" the id 1000000000000000/],
    [2 ** 31, /"b" the id 2147483648/],
    ["1", /"b" the id "1"/],
    [null, /"b" the id null/],
    [[], /"b" the id a list/],
    [0, /the id 0 stands for both "a" and "b"/],
  ];
  for (const [id, message] of ids) {
    await refuses({ model: { type: "WordLevel", vocab: { a: 0, b: id }, unk_token: "a" } }, message);
    await refuses({
      model: { type: "WordLevel", vocab: { a: 0 }, unk_token: "a" },
      added_tokens: [added(id, "b")],
    }, message);
  }
  await refuses(
    { added_tokens: [added(9, "<x>")] },
    /"<x>" has the id 9, where the tokenizers library gives it 3/,
  );
  await refuses(
    { added_tokens: [added(3, "<x>"), added(3, "<y>")] },
    /the id 3 stands for both "<x>" and "<y>"/,
  );
  const template = (ids: unknown): Fields => ({
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "a", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { a: { id: "a", ids, tokens: ["a"] } },
    },
  });
  await refuses(template([1e15]), /post_processor gives token "a" the id 1000000000000000/);
  await refuses(template([-1]), /post_processor gives token "a" the id -1/);
  await refuses(template([7]), /post_processor uses the id 7, which no token has/);
  await refuses(template(null), /no ids for "a"/);
  await refuses({ post_processor: { type: "BertProcessing", sep: ["a", 9.5], cls: ["b"] } }, /2 problems/);
});

Deno.test("createTokenizer() names parts that are missing, unknown or of a wrong kind", async () => {
  await refuses({ model: null }, /"model" is no object/);
  await refuses({ model: undefined }, /"model" is missing/);
  await refuses({ model: { type: "Telepathy" } }, /type is "Telepathy", supported are BPE/);
  await refuses({ model: { type: "BPE" } }, /"model.vocab" is missing/);
  await refuses({ model: { type: "Unigram", vocab: [["a", 0], "b"], unk_id: 0 } }, /vocab\[1\] is no pair/);
  await refuses({ model: { ...BPE, dropout: 0.1 } }, /dropout is 0.1/);
  await refuses({ model: { ...BPE, merges: [["a", "zz"]] } }, /cannot be used: .*zz/);
  await refuses({ normalizer: { type: "Nonsense" } }, /normalizer has the type "Nonsense", supported are/);
  await refuses({ pre_tokenizer: [] }, /"pre_tokenizer" is no object/);
  await refuses({ pre_tokenizer: { type: "Sequence" } }, /without "pretokenizers"/);
  await refuses({ decoder: { type: ["x"] } }, /decoder has the type a list/);
  await refuses({ post_processor: { type: "Magic" } }, /post_processor has the type "Magic"/);
  await refuses({ added_tokens: {} }, /"added_tokens" is no list/);
  await refuses({ added_tokens: [null, added(3, 5)] }, /2 problems/);
  await refuses({
    pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated", invert: false },
  }, /cannot be used/);
});

Deno.test("createTokenizer() refuses tokens that the library would search without end, or end the process over", async () => {
  const plain = added(3, "<x>");
  const bert = { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, lowercase: true };
  const toSpace = { type: "Replace", pattern: { String: "z" }, content: " " };
  await make({ added_tokens: [{ ...plain, lstrip: true, rstrip: true }, added(4, "  ")] });
  await make({
    added_tokens: [{ ...plain, normalized: true }, added(4, "\0"), added(5, "z")],
    normalizer: bert,
  });
  const strips = /The tokenizer of "tiny" .*white space and strips white space/s;
  const cases: [Fields, Fields, RegExp][] = [
    ...[" ", "\n\t", "\u0085", "\u2003 "].flatMap((content) =>
      ["lstrip", "rstrip"].map((side): [Fields, Fields, RegExp] => [{ content, [side]: true }, {}, strips])
    ),
    [{ content: "z", lstrip: true, normalized: true }, { normalizer: toSpace }, strips],
    [{ content: "\0", normalized: true }, { normalizer: bert }, /"\\u0000" is nothing once it is normalized/],
    [{ content: "\u200d", normalized: true }, { normalizer: bert }, /is nothing once it is normalized/],
  ];
  for (const [flags, fields, message] of cases) {
    const token = { ...plain, ...flags };
    await assert.rejects(make({ ...fields, added_tokens: [token] }), message);
    const config = { added_tokens_decoder: { 3: token } };
    const tokenizer = JSON.stringify({ model: BPE, ...fields });
    await assert.rejects(createTokenizer({ tokenizer, config }, "tiny"), message);
  }
});

Deno.test("createTokenizer() refuses what would end the process in the library", async () => {
  await refuses({ model: { ...BPE, continuing_subword_prefix: "##" } }, /merge a list does not go on with/);
  await refuses({ pre_tokenizer: { type: "FixedLength", length: 0 } }, /FixedLength has no length/);
  await refuses({ decoder: { type: "Strip", content: " ", start: 0, stop: 3 } }, /Strip has "stop": 3/);
  await assert.rejects(
    createTokenizer({ tokenizer: '{"model": {"vocab": {"a": 0, "a": 1}}}' }, "tiny"),
    /tokenizer.json" has the key "model.vocab.a" twice/,
  );
  const nested = (depth: number): Fields =>
    depth === 0 ? { type: "NFC" } : { type: "Sequence", normalizers: [nested(depth - 1)] };
  await make({ normalizer: nested(8) });
  await refuses({ normalizer: nested(9) }, /more than 8 deep/);
  const deep = `{"model": ${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
  await assert.rejects(
    createTokenizer({ tokenizer: deep }, "tiny"),
    /tokenizer.json" has more than 500 levels/,
  );
  const deeper = `{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "x": ${"[".repeat(400)}${
    "]".repeat(400)
  }}}`;
  await assert.rejects(createTokenizer({ tokenizer: deeper }, "tiny"), /cannot be used: recursion limit/);
});

const { shapes } = await readPacked<{ shapes: Record<string, { tokenizer: Fields }> }>(
  "tokenizer_shapes/shapes.json.gz",
);

Deno.test("createTokenizer() reads a table of Precompiled only when the library can walk all of it", async () => {
  const whole = shapes["precompiled"]?.tokenizer as
    & { normalizer: { normalizers: [Fields, Fields] } }
    & Fields;
  const bytes = Uint8Array.fromBase64(whole.normalizer.normalizers[0]["precompiled_charsmap"] as string);
  const withTable = (table: unknown) =>
    refuses(
      { ...whole, normalizer: { type: "Precompiled", precompiled_charsmap: table } },
      /the normalizer Precompiled has a precompiled_charsmap that/,
    );
  for (
    const table of [
      null,
      "",
      "AAAA",
      "*",
      bytes.subarray(0, 300).toBase64(),
      new Uint8Array(8).fill(255).toBase64(),
    ]
  ) {
    await withTable(table);
  }
  // Whatever bytes change, the table is refused or can be used: the library never stops the process.
  const place = fc.nat(bytes.length - 1);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 4 }),
      async (changes) => {
        const changed = bytes.slice();
        for (const [at, value] of changes) changed[at] = value;
        const normalizer = { type: "Precompiled", precompiled_charsmap: changed.toBase64() };
        try {
          const tokenizer = await make({ ...whole, normalizer });
          await tokenizer.encodeBatch(["ﬁ ½²Ⅷ\u3000\u200be\u0301\t", "the é"]);
        } catch (error) {
          assert.match((error as Error).message, /precompiled_charsmap that/);
        }
      },
    ),
    { numRuns: 300, seed: 1 },
  );
});

Deno.test("createTokenizer() gives one clear error or a tokenizer, whatever value stands where", async () => {
  const base = shapes["added_meta"]?.tokenizer as Fields;
  const small = {
    ...base,
    model: { ...base["model"] as Fields, vocab: { "<unk>": 0, "<s>": 1, "</s>": 2, a: 3, b: 4 }, merges: [] },
  };
  const paths: (string | number)[][] = [];
  const walk = (value: unknown, path: (string | number)[]): void => {
    if (path.length > 0) paths.push(path);
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      walk(inner, [...path, Array.isArray(value) ? Number(key) : key]);
    }
  };
  walk(small, []);
  const odd = fc.constantFrom<unknown>(
    null,
    -1,
    0,
    1.5,
    2 ** 31,
    1e15,
    "",
    "x",
    [],
    {},
    [[]],
    true,
    ["a", 0],
    { type: "Sequence" },
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), odd, async (path, value) => {
      const changed = structuredClone(small) as unknown as Record<string | number, unknown>;
      let at = changed;
      for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
      at[path.at(-1) as string] = value;
      try {
        const tokenizer = await createTokenizer({ tokenizer: JSON.stringify(changed) }, "tiny");
        const [encoding] = await tokenizer.encodeBatch(["a b<s> the é"]);
        tokenizer.decode(encoding?.ids ?? []);
        tokenizer.decode([0, 1, 2, 3, 4, 5]);
      } catch (error) {
        assert.match((error as Error).name, /^(UserError|ValidationError)$/, String(error));
      }
    }),
    { numRuns: 1500, seed: 1 },
  );
});

const split = (pattern: string, part = "pre_tokenizer"): Fields => ({
  [part]: part === "pre_tokenizer"
    ? { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false }
    : { type: "Replace", pattern: { Regex: pattern }, content: "x" },
});

Deno.test("createTokenizer() refuses patterns that the library may match without end, or ends the process at", async () => {
  const endless = [
    ...[
      "(a+)+$",
      "(a|a)*c",
      "(a|aa)+b",
      "(.*)*x",
      "(a+a+)+y",
      "a*a*b",
      "((a?){16}){16}b",
      "(?>a+)+b",
      "(?:a+){1,3}b",
    ],
    ...["(a{1,1000}){1,1000}b", "x?((((a+)+)+)+)+b|c"],
  ];
  for (const pattern of endless) {
    for (const part of ["pre_tokenizer", "normalizer", "decoder"]) {
      await refuses(split(pattern, part), /repeats what repeats itself/);
    }
    await refuses({
      normalizer: { type: "Sequence", normalizers: [split(pattern, "normalizer")["normalizer"]] },
    }, /repeats what repeats itself/);
  }
  for (const pattern of ["(?<x>a)\\g<x>", "(a)\\1", "\\X*x", "(?x) a # (", "a)(b+)+c"]) {
    await refuses(split(pattern), /which is not supported/);
  }
  await refuses(split("a".repeat(20_001)), /20001 characters/);
});

Deno.test("createTokenizer() takes the patterns of published tokenizers for long texts, others for short ones", async () => {
  const published = Object.values(shapes).flatMap(({ tokenizer }) =>
    [...JSON.stringify(tokenizer).matchAll(/"Regex":("(?:[^"\\]|\\.)*")/g)].map(([, text]) =>
      JSON.parse(text as string)
    )
  );
  published.push(
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    " ?[^(\\s|[.,!?…。，、।۔،])]+",
    "(?:\\p{L}\\p{M}*)+|\\s+",
    "[[:alpha:][^x]]+|[]a]+|[^]b]*",
  );
  assert(published.length > 15, `${published.length}`);
  for (const pattern of published) assert.equal(longestTextUnder(pattern), LONGEST_TEXT, pattern);
  for (const pattern of ["a+b", "(?=(\\d{3})+(?!\\d))", "\\s+(?!\\S)", "x|\\s*[\\r\\n]+"]) {
    assert.equal(longestTextUnder(pattern), 10_000, pattern);
  }
  const tokenizer = await make(split("a+b"));
  assert.equal((await tokenizer.encode("a".repeat(10_000))).length, 10_000);
  await assert.rejects(tokenizer.encode("a".repeat(10_001)), /10001 characters, at most 10000/);
});

Deno.test("Tokenizer.decode() and token() know no ids but those of the vocabulary", async () => {
  const tokenizer = await make({});
  const strange = [-1, 0.5, NaN, 3, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 1e15, Infinity];
  assert.equal(tokenizer.decode([0, ...strange, 1]), "a b");
  assert.equal(tokenizer.decode(strange), "");
  for (const id of strange) assert.equal(tokenizer.token(id), null);
});

Deno.test("Tokenizer.encode() refuses white space that the library would go back over without end", async () => {
  const { o200k } = shapes;
  const tokenizer = await createTokenizer({ tokenizer: JSON.stringify(o200k?.tokenizer) }, "tiny");
  const run = " ".repeat(1_000_000);
  assert.equal((await tokenizer.encode(`a${run}b`)).length > 0, true);
  await assert.rejects(tokenizer.encode(`a${run} b`), {
    name: "LongTextError",
    message: /1000001 characters of white/,
  });
  await assert.rejects(tokenizer.encodeBatch(["a", `${run}\n`]), { name: "LongTextError" });
  const [first, second] = await Promise.allSettled([
    tokenizer.encodeBatch(["a"]),
    tokenizer.encodeBatch([`${run}\n`]),
  ]);
  assert.deepEqual([first?.status, second?.status], ["fulfilled", "rejected"]);
  await assert.rejects(tokenizer.encode("A".repeat(2_000_001)), /2000001 characters, at most 2000000/);
});
