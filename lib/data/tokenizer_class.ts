// SPDX-License-Identifier: Apache-2.0
/**
 * The class with which transformers opens a tokenizer, as version 5.24 does it.
 *
 * Most classes take `tokenizer.json` as it is. Some take only its vocabulary, merges and post-processor, and put their own
 * normalizer, pre-tokenizer and decoder around them, by settings of `tokenizer_config.json`: a Llama 2 folder is read
 * with a Metaspace that the file does not have. Where a model is to see the tokens that transformers gives it, these
 * classes have to be followed.
 */
import { UserError } from "../core/errors.ts";
import { type FollowedClass, type Json, prefixSpace, type TokenizerClass } from "./followed_class.ts";
import { UNFOLLOWED_CLASSES } from "./unfollowed_classes.ts";
import { UNIGRAM_CLASSES } from "./unigram_classes.ts";

/** Takes `tokenizer.json` as it is. */
export const AS_IT_IS: TokenizerClass = { name: "TokenizersBackend" };

/** Classes that transformers has for a family whatever the folder says, or where it says nothing. */
const REGISTERED: Readonly<Record<string, string>> = {
  ...{ bert: "BertTokenizer", distilbert: "BertTokenizer", roberta: "RobertaTokenizer" },
  ...{ gemma: "GemmaTokenizer", gemma2: "GemmaTokenizer", gemma3_text: "GemmaTokenizer" },
  ...{ bart: "RobertaTokenizer", mbart: "MBartTokenizer", mbart50: "MBart50Tokenizer" },
  ...{ "xlm-roberta": "XLMRobertaTokenizer", camembert: "CamembertTokenizer" },
  ...{ gpt2: "GPT2Tokenizer", opt: "GPT2Tokenizer" },
  ...{ qwen2: "Qwen2Tokenizer", qwen2_moe: "Qwen2Tokenizer" },
  ...{ qwen3: "Qwen2Tokenizer", qwen3_moe: "Qwen2Tokenizer" },
  ...{ mistral: "TokenizersBackend", mixtral: "TokenizersBackend", olmo2: "TokenizersBackend" },
  ...{ modernbert: "TokenizersBackend", phi3: "TokenizersBackend" },
};

/** Families for which transformers does not believe the folder. */
const UNBELIEVED: readonly string[] = ["qwen2"];

/**
 * The class for a model folder.
 *
 * Without a `config.json` it is no model's, and the file is taken as it is; so it is where a class could not read it
 * (byte-level vocabulary for one that has none, or the other way round), as nothing that transformers makes of it then
 * is of use.
 *
 * @param model `config.json`; null where there is none
 * @throws {UserError} When transformers has a class of its own that is not followed here
 */
export function chooseClass(json: Json, config: Json, model: Json | null, source: string): TokenizerClass {
  if (model === null) return AS_IT_IS;
  const byteLevel = JSON.stringify([
    json["normalizer"],
    json["pre_tokenizer"],
    json["decoder"],
    json["post_processor"],
  ])
    .includes('"ByteLevel"');
  const name = className(config, model, byteLevel);
  if (UNFOLLOWED_CLASSES.includes(name)) {
    throw new UserError(
      `transformers reads the tokenizer of "${source}" with ${name}, which does not take tokenizer.json as it is and is ` +
        `not supported; set "tokenizer_class" to "TokenizersBackend" in tokenizer_config.json`,
    );
  }
  const chosen = CLASSES[name];
  const { type } = (json["model"] ?? {}) as Json;
  const reads = chosen?.model ?? "BPE";
  return chosen !== undefined && type === reads && chosen.byteLevel === byteLevel ? chosen : AS_IT_IS;
}

function className(config: Json, model: Json, byteLevel: boolean): string {
  const text = (value: unknown): string | null => typeof value === "string" && value !== "" ? value : null;
  const bare = (name: string): string => name.replace(/Fast$/, "");
  const [family, own] = [text(model["model_type"]) ?? "", text(config["tokenizer_class"])];
  const named = own ?? text(model["tokenizer_class"]);
  const registered = REGISTERED[family];
  if (named !== null && !hasOwnCode(config)) {
    const mistaken = bare(named) === "LlamaTokenizer" && byteLevel && !UNBELIEVED.includes(family);
    if (mistaken) return AS_IT_IS.name;
    if (registered !== undefined && registered !== bare(named)) {
      if (registered === AS_IT_IS.name) return registered;
      return UNBELIEVED.includes(family) ? registered : bare(named);
    }
  }
  return named === null ? registered ?? AS_IT_IS.name : bare(named);
}

/** Whether the folder names Python code for its tokenizer. */
function hasOwnCode(config: Json): boolean {
  const map = config["auto_map"];
  if (typeof map !== "object" || map === null) return false;
  return Array.isArray(map) || (map as Json)["AutoTokenizer"] !== undefined;
}

const BYTE_LEVEL_DECODER = { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true };

const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

function bpe(json: Json, flags: Json): Json {
  const { vocab, merges } = json["model"] as Json;
  const none = { dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null };
  return {
    type: "BPE",
    ...none,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    ...flags,
    vocab,
    merges,
  };
}

function byteLevel(addPrefixSpace: boolean, useRegex: boolean): Json {
  return { type: "ByteLevel", add_prefix_space: addPrefixSpace, trim_offsets: true, use_regex: useRegex };
}

/** ▁ for a space, and before a text by the scheme. */
function metaspace(scheme: "always" | "first" | "never"): Json {
  return { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split: false };
}

function metaspaceDecoder(stripsFirst: boolean): Json {
  const strip = stripsFirst ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  const replace = { type: "Replace", pattern: { String: "▁" }, content: " " };
  return { type: "Sequence", decoders: [replace, { type: "ByteFallback" }, { type: "Fuse" }, ...strip] };
}

const LLAMA_NAMES = { unk_token: "<unk>", bos_token: "<s>", eos_token: "</s>" };
const END_OF_TEXT = "<|endoftext|>";
const INFILLING = {
  prefix_token: "▁<PRE>",
  middle_token: "▁<MID>",
  suffix_token: "▁<SUF>",
  eot_token: "▁<EOT>",
  fill_token: "<FILL_ME>",
};

const BERT_NAMES = {
  ...{ unk_token: "[UNK]", sep_token: "[SEP]", pad_token: "[PAD]" },
  ...{ cls_token: "[CLS]", mask_token: "[MASK]" },
};
const ROBERTA_NAMES = {
  ...{ bos_token: "<s>", eos_token: "</s>", sep_token: "</s>", cls_token: "<s>" },
  ...{ unk_token: "<unk>", pad_token: "<pad>", mask_token: "<mask>" },
};
const GEMMA_NAMES = {
  ...{ unk_token: "<unk>", bos_token: "<bos>", eos_token: "<eos>", pad_token: "<pad>", mask_token: "<mask>" },
};

const BERT: Omit<FollowedClass, "name"> = {
  byteLevel: false,
  model: "WordPiece",
  defaults: BERT_NAMES,
  around: "bert",
  rebuild: (json, config) => ({
    model: {
      ...{ type: "WordPiece", unk_token: config["unk_token"] ?? BERT_NAMES.unk_token },
      ...{ continuing_subword_prefix: "##", max_input_chars_per_word: 100 },
      vocab: (json["model"] as Json)["vocab"],
    },
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: Boolean(config["tokenize_chinese_chars"] ?? true),
      strip_accents: config["strip_accents"] ?? null,
      lowercase: Boolean(config["do_lower_case"] ?? true),
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
  }),
};

const ROBERTA: Omit<FollowedClass, "name"> = {
  byteLevel: true,
  defaults: ROBERTA_NAMES,
  around: "roberta",
  rebuild: (json, config) => ({
    model: bpe(json, { continuing_subword_prefix: "", end_of_word_suffix: "" }),
    normalizer: null,
    pre_tokenizer: byteLevel(prefixSpace(config, false), true),
    decoder: BYTE_LEVEL_DECODER,
  }),
};

/** The classes that are followed. */
const CLASSES: Readonly<Record<string, FollowedClass>> = {
  BertTokenizer: { ...BERT, name: "BertTokenizer" },
  DistilBertTokenizer: { ...BERT, name: "DistilBertTokenizer" },
  RobertaTokenizer: { ...ROBERTA, name: "RobertaTokenizer" },
  BartTokenizer: { ...ROBERTA, name: "BartTokenizer" },
  ...UNIGRAM_CLASSES,
  GemmaTokenizer: {
    name: "GemmaTokenizer",
    byteLevel: false,
    defaults: GEMMA_NAMES,
    rebuild: (json, config) => ({
      model: bpe(json, {
        fuse_unk: true,
        byte_fallback: true,
        unk_token: config["unk_token"] ?? GEMMA_NAMES.unk_token,
      }),
      normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
      pre_tokenizer: {
        type: "Split",
        pattern: { String: " " },
        behavior: "MergedWithPrevious",
        invert: false,
      },
      decoder: metaspaceDecoder(false),
    }),
  },
  LlamaTokenizer: {
    name: "LlamaTokenizer",
    byteLevel: false,
    defaults: LLAMA_NAMES,
    rebuild: (json, config) => {
      const space = prefixSpace(config, true);
      return {
        model: bpe(json, { fuse_unk: true, byte_fallback: true }),
        normalizer: null,
        pre_tokenizer: metaspace(!space ? "never" : config["legacy"] ? "always" : "first"),
        decoder: metaspaceDecoder(space),
      };
    },
  },
  CodeLlamaTokenizer: {
    name: "CodeLlamaTokenizer",
    byteLevel: false,
    defaults: { ...LLAMA_NAMES, ...INFILLING },
    extraTokens: Object.values(INFILLING),
    around: "bos",
    rebuild: (json, config) => ({
      model: bpe(json, {
        fuse_unk: true,
        byte_fallback: true,
        unk_token: config["unk_token"] ?? LLAMA_NAMES.unk_token,
      }),
      normalizer: null,
      pre_tokenizer: metaspace(prefixSpace(config, true) ? "first" : "never"),
      decoder: metaspaceDecoder(true),
    }),
  },
  Qwen2Tokenizer: {
    name: "Qwen2Tokenizer",
    byteLevel: true,
    defaults: { unk_token: END_OF_TEXT, bos_token: null, eos_token: END_OF_TEXT, pad_token: END_OF_TEXT },
    addsPlainly: true,
    rebuild: (json, config) => ({
      model: bpe(json, { continuing_subword_prefix: "", end_of_word_suffix: "" }),
      normalizer: { type: "NFC" },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: QWEN_WORDS }, behavior: "Isolated", invert: false },
          byteLevel(prefixSpace(config, false), false),
        ],
      },
      decoder: BYTE_LEVEL_DECODER,
    }),
  },
  GPT2Tokenizer: {
    name: "GPT2Tokenizer",
    byteLevel: true,
    defaults: { unk_token: END_OF_TEXT, bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, pad_token: null },
    rebuild: (json, config) => ({
      model: bpe(json, { continuing_subword_prefix: "", end_of_word_suffix: "" }),
      normalizer: null,
      pre_tokenizer: byteLevel(prefixSpace(config, false), true),
      decoder: BYTE_LEVEL_DECODER,
    }),
  },
  GPTNeoXTokenizer: {
    name: "GPTNeoXTokenizer",
    byteLevel: true,
    defaults: {
      unk_token: END_OF_TEXT,
      bos_token: END_OF_TEXT,
      eos_token: END_OF_TEXT,
      pad_token: "<|padding|>",
    },
    around: "nothing",
    rebuild: (json, config) => ({
      model: bpe(json, { continuing_subword_prefix: "", end_of_word_suffix: "" }),
      normalizer: { type: "NFC" },
      pre_tokenizer: byteLevel(prefixSpace(config, false), true),
      decoder: BYTE_LEVEL_DECODER,
    }),
  },
};
