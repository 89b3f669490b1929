// SPDX-License-Identifier: Apache-2.0
/** What a `tokenizer.json` says of its ids, checked before the library sees the file. */
import { throwIfAny } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import { show, type TokenSpec } from "./special_tokens.ts";
import { checkParts } from "./tokenizer_parts.ts";

/** A token that is found in a text before the model splits it. */
export interface AddedToken extends Omit<TokenSpec, "singleWord"> {
  readonly id: number;
}

/** The ids of a `tokenizer.json`. */
export interface TokenizerIds {
  /** Highest id of the model's vocabulary; -1 where there is none. */
  readonly highest: number;
  /** Tokens of the model's vocabulary. */
  readonly size: number;
  /** Whether the model's vocabulary has a token. */
  readonly inVocabulary: (content: string) => boolean;
  /** Whether the file has a token, in the vocabulary or added. */
  readonly knows: (content: string) => boolean;
  readonly addedTokens: readonly AddedToken[];
  /** What the post-processor puts before a text, and after it. */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  /** What it puts around two texts. */
  readonly pair: PairIds;
}

/** What goes before the first of two texts, between them, and after the second. */
export interface PairIds {
  readonly prefix: readonly number[];
  readonly middle: readonly number[];
  readonly suffix: readonly number[];
  /** What a model is told of the second text's tokens, and of those after it: type 1, or 0 as of all others. */
  readonly secondType: 0 | 1;
}

/** Ids are int32 here, and u32 in the library. */
const HIGHEST_ID = 2 ** 31 - 1;

type Problems = string[];

/**
 * Reads the ids of a parsed `tokenizer.json`: whole numbers from 0, each of one token.
 *
 * @param source The folder it is from, for messages
 * @throws {ValidationError} With all that is wrong
 */
export function readTokenizerIds(json: Readonly<Record<string, unknown>>, source: string): TokenizerIds {
  const problems: Problems = [];
  checkParts(json, problems);
  throwIfAny(`tokenizer.json of "${source}"`, firstProblems(problems));
  const tokenOf = new Map<number, string>();
  for (const [token, id] of vocabulary(json["model"], problems)) {
    if (checkId("model.vocab", token, id, problems)) {
      noteToken(tokenOf, id, token, problems);
    }
  }
  const size = tokenOf.size;
  let highest = -1;
  for (const id of tokenOf.keys()) if (id > highest) highest = id;
  const addedTokens = readAddedTokens(json["added_tokens"], problems);
  for (const { id, content } of addedTokens) noteToken(tokenOf, id, content, problems);
  const around = surroundingIds(json["post_processor"], problems);
  for (const id of [...around.prefix, ...around.suffix]) {
    if (!tokenOf.has(id)) problems.push(`post_processor uses the id ${id}, which no token has`);
  }
  throwIfAny(`tokenizer.json of "${source}"`, firstProblems(problems));
  const { vocab } = json["model"] as { vocab: unknown };
  const inVocabulary = Array.isArray(vocab)
    ? setMembership(vocab.map((entry) => entry[0]))
    : (content: string) => Object.hasOwn(vocab as object, content);
  const isAdded = setMembership(addedTokens.map(({ content }) => content));
  const knows = (content: string): boolean => inVocabulary(content) || isAdded(content);
  return { highest, size, inVocabulary, knows, addedTokens, ...around };
}

/** Problems that an error lists. */
const LISTED = 10;

/** The first problems, and how many more there are. */
export function firstProblems(problems: readonly string[]): readonly string[] {
  if (problems.length <= LISTED) return problems;
  return [...problems.slice(0, LISTED), `… and ${problems.length - LISTED} more`];
}

function setMembership(contents: Iterable<string>): (content: string) => boolean {
  const set = new Set(contents);
  return (content) => set.has(content);
}

function vocabulary(model: unknown, problems: Problems): Iterable<readonly [string, unknown]> {
  if (!isJsonObject(model)) return [];
  const { vocab } = model;
  if (Array.isArray(vocab)) return listedVocabulary(vocab, problems);
  if (isJsonObject(vocab)) return Object.entries(vocab);
  problems.push(`"model.vocab" is ${vocab === undefined ? "missing" : "neither an object nor a list"}`);
  return [];
}

/** `[["<unk>", 0.0], …]`: the place is the id. */
function listedVocabulary(vocab: readonly unknown[], problems: Problems): [string, number][] {
  return vocab.flatMap((entry: unknown, id): [string, number][] => {
    if (Array.isArray(entry) && typeof entry[0] === "string" && typeof entry[1] === "number") {
      return [[entry[0], id]];
    }
    problems.push(`model.vocab[${id}] is no pair of a token and its score`);
    return [];
  });
}

function checkId(where: string, token: unknown, id: unknown, problems: Problems): id is number {
  if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id <= HIGHEST_ID) return true;
  problems.push(
    `${where} gives token ${show(token)} the id ${show(id)}, expected a whole number from 0 to ${HIGHEST_ID}`,
  );
  return false;
}

/** @mutates tokenOf, problems */
function noteToken(tokenOf: Map<number, string>, id: number, token: string, problems: Problems): void {
  const other = tokenOf.get(id);
  if (other !== undefined && other !== token) {
    problems.push(`the id ${id} stands for both ${show(other)} and ${show(token)}`);
  }
  tokenOf.set(id, token);
}

function readAddedTokens(value: unknown, problems: Problems): AddedToken[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) {
    problems.push(`"added_tokens" is no list`);
    return [];
  }
  return value.flatMap((entry: unknown, i): AddedToken[] => {
    if (!isJsonObject(entry) || typeof entry["content"] !== "string") {
      problems.push(`added_tokens[${i}] is no object with a text as "content"`);
      return [];
    }
    const { id, content, special } = entry;
    if (!checkId("added_tokens", content, id, problems)) return [];
    const [lstrip, rstrip, normalized] = [entry["lstrip"], entry["rstrip"], entry["normalized"]]
      .map((flag) => flag === true) as [boolean, boolean, boolean];
    return [{ id, content, special: special === true, lstrip, rstrip, normalized }];
  });
}

interface Around {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  readonly pair: PairIds;
}

const NOTHING: Around = {
  prefix: [],
  suffix: [],
  pair: { prefix: [], middle: [], suffix: [], secondType: 0 },
};

/** What a post-processor puts around one text. */
function surroundingIds(processor: unknown, problems: Problems): Around {
  if (processor === undefined || processor === null) return NOTHING;
  const type = isJsonObject(processor) ? processor["type"] : undefined;
  const fields = processor as Readonly<Record<string, unknown>>;
  if (type === "ByteLevel") return NOTHING;
  if (type === "BertProcessing" || type === "RobertaProcessing") {
    const [cls, sep] = [pairId(fields["cls"], "cls", problems), pairId(fields["sep"], "sep", problems)];
    const middle = type === "RobertaProcessing" ? [...sep, ...sep] : sep;
    return {
      prefix: cls,
      suffix: sep,
      pair: { prefix: cls, middle, suffix: sep, secondType: type === "BertProcessing" ? 1 : 0 },
    };
  }
  if (type === "TemplateProcessing") return templateIds(fields, problems);
  if (type === "Sequence" && Array.isArray(fields["processors"])) {
    const all = fields["processors"].map((part: unknown) => surroundingIds(part, problems));
    const adding = all.filter(({ prefix, suffix }) => prefix.length + suffix.length > 0);
    if (adding.length > 1) {
      problems.push("post_processor adds tokens in more than one step, which is not supported");
    }
    return adding[0] ?? NOTHING;
  }
  return NOTHING;
}

/** `["<s>", 1]`. */
function pairId(value: unknown, name: string, problems: Problems): number[] {
  if (!Array.isArray(value) || value.length !== 2) {
    problems.push(`post_processor.${name} is no pair of a token and its id`);
    return [];
  }
  const [token, id] = value as [unknown, unknown];
  return checkId("post_processor", token, id, problems) ? [id] : [];
}

/** `single: [{SpecialToken: {id: "<s>"}}, {Sequence: {id: "A"}}]`, with the ids of each name in `special_tokens`. */
function templateIds(fields: Readonly<Record<string, unknown>>, problems: Problems): Around {
  const { single, pair, special_tokens: table } = fields;
  const [prefix = [], suffix = []] = sidesOf(single, "single", 1, table, problems);
  const ofPair: Problems = [];
  const sides = sidesOf(pair, "pair", 2, table, ofPair);
  // Two texts are joined as they are where nothing usable is said of them: few models ever see any.
  const [before = [], middle = [], after = []] = ofPair.length === 0 ? sides : [];
  return { prefix, suffix, pair: { prefix: before, middle, suffix: after, secondType: secondTypeOf(pair) } };
}

/** The `type_id` of the text B. */
function secondTypeOf(pair: unknown): 0 | 1 {
  const pieces: readonly unknown[] = Array.isArray(pair) ? pair : [];
  const texts = pieces.flatMap((piece) =>
    isJsonObject(piece) && isJsonObject(piece["Sequence"]) ? [piece["Sequence"]] : []
  );
  return texts[1]?.["type_id"] === 1 ? 1 : 0;
}

/** Ids before, between and after the texts of a template. @mutates problems */
function sidesOf(
  template: unknown,
  name: string,
  expected: number,
  table: unknown,
  problems: Problems,
): number[][] {
  const pieces: readonly unknown[] = Array.isArray(template) ? template : [];
  const sides: number[][] = [[]];
  for (const piece of pieces) {
    const { SpecialToken: special, Sequence: sequence } = isJsonObject(piece) ? piece : {};
    if (sequence !== undefined) sides.push([]);
    else sides.at(-1)?.push(...namedIds(special, table, problems));
  }
  const texts = sides.length - 1;
  if (texts !== expected) {
    const count = expected === 1 ? "once" : "twice";
    problems.push(`post_processor.${name} has the text ${texts} times, expected ${count}`);
  }
  return sides;
}

function namedIds(special: unknown, table: unknown, problems: Problems): number[] {
  const name = isJsonObject(special) ? special["id"] : undefined;
  const entry = isJsonObject(table) && typeof name === "string" && Object.hasOwn(table, name)
    ? table[name]
    : undefined;
  const ids = isJsonObject(entry) ? entry["ids"] : undefined;
  if (!Array.isArray(ids)) {
    problems.push(`post_processor.special_tokens has no ids for ${show(name)}`);
    return [];
  }
  return ids.filter((id: unknown): id is number => checkId("post_processor", name, id, problems));
}
