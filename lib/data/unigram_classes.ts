// SPDX-License-Identifier: Apache-2.0
/** Tokenizer classes of transformers over vocabularies of sentencepiece, numbered as fairseq does: XLM-R, CamemBERT, mBART, BARThez. */
import { type FollowedClass, type Json, prefixSpace } from "./followed_class.ts";

/** Languages of mBART, and those that mBART-50 has besides: tokens of their own. */
const LANGUAGES = (
  "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN " +
  "hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP " +
  "nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
).split(" ");
const FURTHER_LANGUAGES = (
  "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH " +
  "mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE " +
  "ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
).split(" ");

const NAMES = {
  ...{ bos_token: "<s>", eos_token: "</s>", sep_token: "</s>", cls_token: "<s>" },
  ...{ unk_token: "<unk>", pad_token: "<pad>", mask_token: "<mask>" },
};
/** What mBART-50 says nothing of. */
const { bos_token: _, ...NAMES_50 } = NAMES;

/** @param unknown Number of the unknown token: the fourth, whatever the file says */
function unigram(json: Json, unknown = 3): Json {
  return { type: "Unigram", unk_id: unknown, vocab: (json["model"] as Json)["vocab"], byte_fallback: false };
}

/** ▁ for a space, and before a text or a word of it. */
function metaspace(space: boolean): Json {
  return { type: "Metaspace", replacement: "▁", prepend_scheme: space ? "always" : "never", split: true };
}

/** Words apart, then {@linkcode metaspace}. */
function words(space: boolean): Json {
  return { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, metaspace(space)] };
}

/** The table that a model of sentencepiece normalizes by, of all that the file normalizes by. */
function charsmap(json: Json): Json | null {
  const normalizer = json["normalizer"] as Json | null | undefined;
  const parts =
    (normalizer?.["type"] === "Sequence" ? normalizer["normalizers"] : [normalizer]) as (Json | null)[];
  return parts.find((part) => part?.["type"] === "Precompiled") ?? null;
}

/** Number of the unknown token, as CamemBERT looks it up; 0 where there is none. */
function unknownOf(json: Json, config: Json): number {
  const vocab = (json["model"] as Json)["vocab"] as readonly (readonly [string, number])[];
  return Math.max(0, vocab.findIndex(([token]) => token === String(config["unk_token"] ?? NAMES.unk_token)));
}

const XLM_R: Omit<FollowedClass, "name"> = {
  byteLevel: false,
  model: "Unigram",
  defaults: NAMES,
  around: "xlm-r",
  rebuild: (json, config) => ({
    model: unigram(json),
    normalizer: charsmap(json),
    pre_tokenizer: words(prefixSpace(config, true)),
    decoder: metaspace(prefixSpace(config, true)),
  }),
};

/** See {@linkcode FollowedClass}. */
export const UNIGRAM_CLASSES: Readonly<Record<string, FollowedClass>> = {
  XLMRobertaTokenizer: { ...XLM_R, name: "XLMRobertaTokenizer" },
  CamembertTokenizer: {
    ...XLM_R,
    name: "CamembertTokenizer",
    extraTokens: ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
    rebuild: (json, config) => ({
      ...XLM_R.rebuild?.(json, config),
      model: unigram(json, unknownOf(json, config)),
    }),
  },
  MBartTokenizer: {
    name: "MBartTokenizer",
    byteLevel: false,
    model: "Unigram",
    defaults: NAMES,
    extraTokens: LANGUAGES,
    language: "behind",
    rebuild: (json) => ({
      model: unigram(json),
      normalizer: null,
      pre_tokenizer: words(true),
      decoder: metaspace(true),
    }),
  },
  MBart50Tokenizer: {
    name: "MBart50Tokenizer",
    byteLevel: false,
    model: "Unigram",
    defaults: NAMES_50,
    extraTokens: [...LANGUAGES, ...FURTHER_LANGUAGES],
    language: "before",
    rebuild: (json) => ({
      model: unigram(json),
      normalizer: {
        type: "Sequence",
        normalizers: [
          ...[charsmap(json) ?? []].flat(),
          { type: "Replace", pattern: { Regex: " {2,}" }, content: " " },
        ],
      },
      pre_tokenizer: metaspace(true),
      decoder: metaspace(true),
    }),
  },
  BarthezTokenizer: {
    name: "BarthezTokenizer",
    byteLevel: false,
    model: "Unigram",
    defaults: NAMES,
    rebuild: (json, config) => ({
      model: unigram(json),
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Replace", pattern: { Regex: "\\s{2,}|[\\n\\r\\t]" }, content: " " },
          { type: "NFC" },
          { type: "Strip", strip_left: false, strip_right: true },
        ],
      },
      pre_tokenizer: metaspace(prefixSpace(config, true)),
      decoder: metaspace(prefixSpace(config, true)),
    }),
  },
};
