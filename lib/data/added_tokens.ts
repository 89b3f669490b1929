// SPDX-License-Identifier: Apache-2.0
/** Tokens that are added to a tokenizer, as transformers' `add_tokens` adds them: behind all that it has, each found whole in texts. */
import { throwIfAny } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import { quotedValue } from "../core/quoted.ts";
import { text, texts } from "../core/options.ts";
import { parseJson, readText } from "../files/read.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { createTokenizer } from "./tokenizer.ts";
import { type Fields, parseObject, type TokenizerFiles } from "./tokenizer_files.ts";

/** What tokens are added. */
export const ADDED_TOKEN_OPTIONS = {
  /** Names of tokens that are text like any other. Default: none. */
  addTokens: texts({
    help:
      "tokens that the vocabulary is to have besides: embedding and head grow where they must, and learn them",
    defaultText: "none",
    identity: "vocabulary",
  }),
  /** Names of special tokens: they are left out of answers, and no normalizer changes them. Default: none. */
  addSpecialTokens: texts({
    help: "the same for special tokens, which answers leave out",
    defaultText: "none",
    identity: "vocabulary",
  }),
  /** File with a name a line; or a JSON list of names, or of `{"content": "<a>", "special": true}`. Default: none. */
  addTokensFrom: text({
    path: true,
    help:
      'file of such tokens: one a line, or a JSON list of texts or of {"content": "<a>", "special": true}',
    defaultText: "none",
    identity: "vocabulary",
  }),
} as const;

/** One token that is to be added. */
export interface AddedTokenChoice {
  readonly content: string;
  readonly special: boolean;
}

/** Values of {@linkcode ADDED_TOKEN_OPTIONS}. */
export interface AddedTokenOptions {
  readonly addTokens?: string | readonly string[];
  readonly addSpecialTokens?: string | readonly string[];
  readonly addTokensFrom?: string;
}

/**
 * The tokens that options name, in their order.
 *
 * @throws {UserError} When the file cannot be read, or a name is none, or stands twice
 */
export async function chosenTokens(options: AddedTokenOptions): Promise<readonly AddedTokenChoice[]> {
  const named = (names: string | readonly string[] | undefined, special: boolean) =>
    [names ?? []].flat().map((content) => ({ content, special }));
  const problems: string[] = [];
  const all = [
    ...named(options.addTokens, false),
    ...named(options.addSpecialTokens, true),
    ...options.addTokensFrom === undefined ? [] : await listedTokens(options.addTokensFrom, problems),
  ];
  const seen = new Set<string>();
  for (const { content } of all) {
    if (content === "") problems.push("a token without a name cannot be added");
    else if (seen.has(content)) problems.push(`${quotedValue(content)} is to be added twice`);
    seen.add(content);
  }
  throwIfAny("What is added to the vocabulary", problems);
  return all;
}

/** @mutates problems */
async function listedTokens(path: string, problems: string[]): Promise<AddedTokenChoice[]> {
  const content = await readText(path);
  if (!content.trimStart().startsWith("[")) {
    return content.split(/\r?\n/).filter((line) => line !== "").map((content) => ({
      content,
      special: false,
    }));
  }
  const list = parseJson(path, content) as readonly unknown[];
  return list.flatMap((item): AddedTokenChoice[] => {
    if (typeof item === "string") return [{ content: item, special: false }];
    if (isJsonObject(item) && typeof item["content"] === "string") {
      return [{ content: item["content"], special: item["special"] === true }];
    }
    problems.push(
      `${path} has ${quotedValue(item)}, expected a text, or {"content": "<a>", "special": true}`,
    );
    return [];
  });
}

/** A tokenizer that has tokens besides. */
export interface GrownTokenizer {
  readonly tokenizer: Tokenizer;
  readonly files: TokenizerFiles;
  /** Ids of the tokens that were asked for, in their order: those it had already keep theirs. */
  readonly ids: readonly number[];
}

/**
 * Adds tokens to those of a folder.
 *
 * @param own The tokenizer of these files
 * @throws {UserError} When a token cannot be found in texts
 */
export async function withAddedTokens(
  files: TokenizerFiles,
  own: Tokenizer,
  tokens: readonly AddedTokenChoice[],
): Promise<GrownTokenizer> {
  const idOf = new Map<string, number>();
  for (let id = own.vocabSize - 1; id >= 0; id--) {
    const name = own.token(id);
    if (name !== null) idOf.set(name, id);
  }
  // The library may tell of an added token what a normalizer makes of it.
  const json = parseObject(files.tokenizer, `${own.source}/tokenizer.json`);
  for (const { id, content } of addedTokensOf(json)) idOf.set(content, id);
  const fresh = tokens.filter(({ content }) => !idOf.has(content));
  fresh.forEach(({ content }, i) => idOf.set(content, own.vocabSize + i));
  const ids = tokens.map(({ content }) => idOf.get(content) as number);
  if (fresh.length === 0) return { tokenizer: own, files, ids };
  const entries = fresh.map(({ content, special }) => ({
    ...{ content, single_word: false, lstrip: false, rstrip: false },
    ...{ normalized: !special, special },
  }));
  const listed = entries.map((entry) => ({ id: idOf.get(entry.content), ...entry }));
  const grown: TokenizerFiles = {
    ...files,
    tokenizer: JSON.stringify({
      ...json,
      added_tokens: [...addedTokensOf(json), ...listed],
    }),
    ...(files.config && { config: withDecoder(files.config, listed) }),
  };
  return { tokenizer: await createTokenizer(grown, own.source), files: grown, ids };
}

/** Of a file that was opened. */
function addedTokensOf(json: Fields): readonly { readonly id: number; readonly content: string }[] {
  return (json["added_tokens"] ?? []) as readonly { id: number; content: string }[];
}

/** `added_tokens_decoder` names all added tokens where it stands; where it does not, `tokenizer.json` does. */
function withDecoder(config: Fields, listed: readonly Readonly<Record<string, unknown>>[]): Fields {
  const decoder = config["added_tokens_decoder"];
  if (!isJsonObject(decoder)) return config;
  const entries = listed.map(({ id, ...entry }) => [String(id), entry] as const);
  return { ...config, added_tokens_decoder: { ...decoder, ...Object.fromEntries(entries) } };
}
