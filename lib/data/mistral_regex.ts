// SPDX-License-Identifier: Apache-2.0
/** The pre-tokenizer that `fix_mistral_regex` of `tokenizer_config.json` asks for, as transformers 5.24 puts it in. */

type Json = Readonly<Record<string, unknown>>;

const WORDS =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Model types of Mistral's models; a folder that names none may be one. */
const FAMILIES: readonly unknown[] = [
  undefined,
  null,
  "mistral",
  "mistral3",
  "voxtral",
  "ministral",
  "pixtral",
];

/** Vocabularies up to this size never had the wrong expression. */
const SMALLEST = 100_000;

/**
 * The pre-tokenizer in place of the file's; undefined where it stays.
 *
 * @param size Tokens of the vocabulary, added ones included
 */
export function mistralPreTokenizer(
  own: unknown,
  config: Json,
  model: Json | null,
  size: number,
): Json | undefined {
  if (!config["fix_mistral_regex"] || model === null || typeof own !== "object" || own === null) {
    return undefined;
  }
  if (size <= SMALLEST || !FAMILIES.includes(model["model_type"])) return undefined;
  if (savedSinceFive(model["transformers_version"])) return undefined;
  const split = { type: "Split", pattern: { Regex: WORDS }, behavior: "Isolated", invert: false };
  const { type, pretokenizers } = own as Json;
  if (type === "Sequence" && Array.isArray(pretokenizers)) {
    return { type: "Sequence", pretokenizers: [split, ...pretokenizers.slice(1)] };
  }
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return { type: "Sequence", pretokenizers: [split, type === "Metaspace" ? bytes : own] };
}

/** Whether a version is 5.0.0 or later; what comes before a release (5.0.0.dev0, 5.0.0rc1) is not. */
function savedSinceFive(version: unknown): boolean {
  const [, major, rest] = /^v?(\d+)(.*)$/.exec(typeof version === "string" ? version : "") ?? [];
  if (major === undefined || Number(major) < 5) return false;
  return Number(major) > 5 || !/^(\.0)*\.?(dev|a|b|rc)/.test(rest as string);
}
