// SPDX-License-Identifier: Apache-2.0
/**
 * The parts of a `tokenizer.json`, checked before the library sees them: it ends the process at some that are wrong
 * (a panic of Rust has no handler in a native module), and names few of them.
 */
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { LONGEST_TEXT, longestTextUnder } from "./pattern_cost.ts";
import { charsmapProblem } from "./precompiled_charsmap.ts";
import { show } from "./special_tokens.ts";

/** Parts that others hold, by the name of their list. */
const LISTS = {
  normalizer: "normalizers",
  pre_tokenizer: "pretokenizers",
  decoder: "decoders",
  post_processor: "processors",
} as const;

type PartName = keyof typeof LISTS;

/** Parts of the library, version 0.23. */
const TYPES: Readonly<Record<PartName, readonly string[]>> = {
  normalizer: [
    ...["BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled"],
    ...["Prepend", "Replace", "Sequence", "Strip", "StripAccents"],
  ],
  pre_tokenizer: [
    ...["BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace"],
    ...["Punctuation", "Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"],
  ],
  decoder: [
    ...[
      "BPEDecoder",
      "ByteFallback",
      "ByteLevel",
      "CTC",
      "Fuse",
      "Metaspace",
      "Replace",
      "Sequence",
      "Strip",
    ],
    "WordPiece",
  ],
  post_processor: ["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"],
};

const MODELS: readonly string[] = ["BPE", "Unigram", "WordPiece", "WordLevel"];

/** Sequences within sequences that a file may have; real ones have one. */
const DEEPEST = 8;

/**
 * What is wrong with the parts of a parsed `tokenizer.json`, one sentence each. Ids are checked elsewhere.
 *
 * @mutates problems
 */
export function checkParts(json: Readonly<Record<string, unknown>>, problems: string[]): void {
  for (const name of Object.keys(LISTS) as PartName[]) checkPart(name, json[name], problems);
  checkModel(json["model"], problems);
}

function checkPart(name: PartName, part: unknown, problems: string[], depth = 0): void {
  if (part === undefined || part === null) return;
  if (!isJsonObject(part)) {
    problems.push(`"${name}" is no object`);
    return;
  }
  const { type } = part;
  if (typeof type !== "string" || !TYPES[name].includes(type)) {
    problems.push(`${name} has the type ${show(type)}, supported are ${TYPES[name].join(", ")}`);
    return;
  }
  if (type !== "Sequence") {
    const problem = partProblem(name, type, part);
    if (problem !== null) problems.push(`the ${name} ${type} ${problem}`);
    return;
  }
  const parts = part[LISTS[name]];
  if (!Array.isArray(parts)) problems.push(`${name} is a Sequence without "${LISTS[name]}"`);
  else if (depth === DEEPEST) problems.push(`${name} has Sequences more than ${DEEPEST} deep`);
  else for (const inner of parts) checkPart(name, inner, problems, depth + 1);
}

/** What the library would stop the process for, when it is loaded or used. */
function partProblem(name: PartName, type: string, part: JsonObject): string | null {
  if (type === "Precompiled") {
    const problem = charsmapProblem(part["precompiled_charsmap"]);
    return problem === null ? null : `has a precompiled_charsmap that ${problem}`;
  }
  const pattern = regexOf(part);
  const cost = pattern === null ? null : longestTextUnder(pattern);
  if (typeof cost === "string") return `has the pattern ${show(pattern)}, which ${cost}`;
  if (type === "FixedLength" && !((part["length"] as number) >= 1)) return "has no length of at least 1";
  if (name === "decoder" && type === "Strip" && part["stop"] !== 0) {
    return `has "stop": ${show(part["stop"])}, supported is 0`;
  }
  return null;
}

/** The regular expression of a part that has one. */
function regexOf({ pattern }: JsonObject): string | null {
  const regex = isJsonObject(pattern) ? pattern["Regex"] : null;
  return typeof regex === "string" ? regex : null;
}

/** Characters of a text that the parts of a checked `tokenizer.json` go through in bounded time. */
export function longestText(json: Readonly<Record<string, unknown>>): number {
  let longest = LONGEST_TEXT;
  const look = (name: PartName, part: unknown): void => {
    if (!isJsonObject(part)) return;
    const pattern = regexOf(part);
    const cost = pattern === null ? LONGEST_TEXT : longestTextUnder(pattern);
    if (typeof cost === "number") longest = Math.min(longest, cost);
    const inner = part[LISTS[name]];
    if (Array.isArray(inner)) { for (const one of inner) look(name, one); }
  };
  for (const name of Object.keys(LISTS) as PartName[]) look(name, json[name]);
  return longest;
}

function checkModel(model: unknown, problems: string[]): void {
  if (!isJsonObject(model)) {
    problems.push(`"model" is ${model === undefined ? "missing" : "no object"}`);
    return;
  }
  const { type, dropout, continuing_subword_prefix: prefix, max_input_chars_per_word: longest } = model;
  if (type !== undefined && !MODELS.includes(type as string)) {
    problems.push(`the model's type is ${show(type)}, supported are ${MODELS.join(", ")}`);
  }
  if (typeof longest === "number" && longest > LONGEST_WORD) {
    problems.push(`model.max_input_chars_per_word is ${longest}, supported are up to ${LONGEST_WORD}`);
  }
  if (typeof dropout === "number" && dropout > 0) {
    problems.push(
      `model.dropout is ${dropout}, which gives a text other tokens each time; set it to null`,
    );
  }
  if (typeof prefix === "string" && prefix !== "") checkMerges(model["merges"], prefix, problems);
}

/** Of WordPiece, whose work grows with the square of it: published tokenizers have 100. */
const LONGEST_WORD = 1000;

/** The second half of every merge begins with the prefix, which is cut off when they are joined. */
function checkMerges(merges: unknown, prefix: string, problems: string[]): void {
  if (!Array.isArray(merges)) return;
  const wrong = merges.find((merge: unknown) => {
    const second = Array.isArray(merge)
      ? merge[1]
      : typeof merge === "string"
      ? merge.split(" ")[1]
      : undefined;
    return typeof second === "string" && !second.startsWith(prefix);
  });
  if (wrong === undefined) return;
  problems.push(
    `the merge ${show(wrong)} does not go on with continuing_subword_prefix ${show(prefix)}`,
  );
}
