// SPDX-License-Identifier: Apache-2.0
/** Files of tokenizers: changed, then used on texts of many kinds. */
import { gunzipSync } from "node:zlib";
import { nextIntegerBelow, type RandomStream } from "../../../lib/core/rng.ts";
import { createTokenizer } from "../../../lib/data/tokenizer.ts";
import { parseObject, type TokenizerFiles } from "../../../lib/data/tokenizer_files.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { mutatedJson, pick } from "./mutate_json.ts";

type Fields = Record<string, unknown>;

let known: Fields[] | null = null;

/** Shapes of tokenizers with vocabularies of some hundred tokens. */
function shapes(): Fields[] {
  if (known) return known;
  const packed = Deno.readFileSync(
    new URL("../../../tests/fixtures/tokenizer_shapes/shapes.json.gz", import.meta.url),
  );
  const { shapes } = JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(gunzipSync(packed)));
  return known = Object.values(shapes as Record<string, { tokenizer: Fields }>).map(({ tokenizer }) =>
    small(tokenizer)
  );
}

/** Without most of its vocabulary, so that changes hit the rest, and a case takes a millisecond. */
function small(tokenizer: Fields): Fields {
  const model = tokenizer["model"] as { vocab: unknown; merges?: unknown[]; type?: string };
  if (Array.isArray(model.vocab)) {
    return { ...tokenizer, model: { ...model, vocab: model.vocab.slice(0, 60) } };
  }
  const vocab = Object.fromEntries(Object.entries(model.vocab as object).filter(([, id]) => id < 300));
  return { ...tokenizer, model: { ...model, vocab, ...(model.merges && { merges: [] }) } };
}

const CONFIG = {
  ...{
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: "<s>",
    eos_token: { content: "</s>", lstrip: false },
  },
  ...{ model_max_length: 1e30, clean_up_tokenization_spaces: true, add_prefix_space: true, pad_token: null },
  added_tokens_decoder: {
    "0": { content: "<unk>", special: true, normalized: false, lstrip: false, rstrip: false },
  },
  chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}",
};

const TEXTS = [
  "a b  the é\n",
  "",
  "<s> hi </s>",
  "\u0000\ud83d\ude00 e\u0301 ½²Ⅷ 12345",
  "a".repeat(200),
  " ".repeat(200) + "x",
];

/** Patterns for pre-tokenizers: right, wrong, and such that go back over a text again and again. */
const PATTERNS: readonly string[] = [
  ..."(a+)+$|(a|a)*b|(.*)*x|(?:a?){40}a{40}|(\\s+)+!|\\s+(?!\\S)|(?<=a+)b|(?i:'s)|[^\\r\\n\\p{L}]?\\p{L}+"
    .split("|"),
  ...[
    "(a|aa)+$",
    "(a|a)*b",
    "((a*)*)*b",
    "(x+x+)+y",
    "(.+)+\\1",
    "(?>a+)+b",
    "\\p{Foo}",
    "(",
    "[a-",
    "a{1000000}",
  ],
  ...[
    "(a{1000}){1000}",
    "\\k<x>",
    "(?<x>a)\\g<x>",
    "(?R)",
    "\\X*\\X*x",
    "(?=(a+))\\1b",
    "",
    "|",
    "(?:)*",
    "$^",
  ],
];

function withPattern(random: RandomStream, tokenizer: Fields): Fields {
  const split = {
    ...{ type: "Split", pattern: { Regex: pick(random, PATTERNS) }, invert: false },
    behavior: pick(random, ["Isolated", "Removed", "MergedWithPrevious", "Contiguous"]),
  };
  return { ...tokenizer, pre_tokenizer: { type: "Sequence", pretokenizers: [split] } };
}

/** `tokenizer.json` and `tokenizer_config.json`, one line each. */
export const TOKENIZER: Fuzzer = {
  name: "tokenizer",
  make(random) {
    const shape = pick(random, shapes());
    const choice = nextIntegerBelow(random, 4);
    const [first, second] = [choice === 0 ? withPattern(random, shape) : shape, CONFIG];
    const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    const tokenizer = choice <= 1
      ? encode(first)
      : choice === 2
      ? mutatedJson(random, first)
      : mutatedJson(random, {
        ...first,
        model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: [["a", "b"]] },
      });
    const config = choice === 1 ? mutatedJson(random, second) : encode(second);
    return new Uint8Array([...tokenizer, 10, ...config]);
  },
  async use(input) {
    const at = input.lastIndexOf(10);
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    const files: TokenizerFiles = {
      tokenizer: text(input.subarray(0, at)),
      config: parseObject(text(input.subarray(at + 1)), "tokenizer_config.json"),
      model: { model_type: "llama" },
    };
    const tokenizer = await createTokenizer(files, "folder");
    for (const encoding of await tokenizer.encodeBatch(TEXTS)) tokenizer.decode(encoding.ids);
    tokenizer.decode([0, 1, 2, 3, 1e9, -1]);
    await tokenizer.encode(TEXTS[0] as string, { special: true });
    return "accepted";
  },
};
