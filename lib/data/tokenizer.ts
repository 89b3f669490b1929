// SPDX-License-Identifier: Apache-2.0
/** Text to token ids and back, as a Hugging Face model folder describes it. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { type ChatTemplate, compileChatTemplate } from "./chat_template.ts";
import { isJsonObject } from "../core/json.ts";
import { readTokenizerIds } from "./tokenizer_json.ts";
import { type Encoding, type LibraryTokenizer, openLibraryTokenizer } from "./tokenizer_library.ts";

export type { Encoding } from "./tokenizer_library.ts";

/** Text to token ids and back. */
export interface Tokenizer {
  /** Where it was loaded from, for messages. */
  readonly source: string;
  /** Highest token id + 1. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  /** Ids of the tokens that are marks, not text. */
  readonly specialIds: ReadonlySet<number>;
  /** Names of special tokens by their role (`bos_token`, …), as chat templates see them; null where there is none. */
  readonly specialNames: Readonly<Record<string, string | null>>;
  /** What goes before a text: the beginning-of-sequence token, where the model was trained with one. */
  readonly prefixIds: readonly number[];
  /** What goes after it. */
  readonly suffixIds: readonly number[];
  /** Null when the model has none. */
  readonly chatTemplate: ChatTemplate | null;
  /** Ids of a text. Names of special tokens inside it become those tokens. `special` adds the prefix and suffix. */
  encode(text: string, options?: { readonly special?: boolean }): Promise<number[]>;
  /** Encodes texts on all cores, without prefix and suffix. Names of special tokens inside become those tokens. */
  encodeBatch(texts: readonly string[]): Promise<Encoding[]>;
  /** Text of ids, byte for byte: spaces before punctuation stay. Special tokens are left out unless kept. */
  decode(ids: ArrayLike<number>, options?: { readonly keepSpecial?: boolean }): string;
  /** The name of a token in the vocabulary; null for an id that has none. */
  token(id: number): string | null;
}

/** The files of a tokenizer. */
export interface TokenizerFiles {
  /** Text of `tokenizer.json`. */
  readonly tokenizer: string;
  /** Parsed content of `tokenizer_config.json`, or nothing. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Parsed content of `special_tokens_map.json`, or nothing. */
  readonly specialTokens?: Readonly<Record<string, unknown>>;
  /** Content of `chat_template.jinja`, which wins over the template in `tokenizer_config.json`. */
  readonly chatTemplate?: string;
}

/** A model folder without a tokenizer. */
export class MissingTokenizerError extends UserError {
  override readonly name = "MissingTokenizerError";
}

/**
 * Loads the tokenizer of a model folder: `tokenizer.json`, and where present `tokenizer_config.json`,
 * `special_tokens_map.json` and `chat_template.jinja`.
 *
 * @throws {MissingTokenizerError} When there is no `tokenizer.json`
 * @throws {UserError} When a file is not JSON, or asks for something unsupported; the message names it
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const tokenizer = await readOptional(join(folder, "tokenizer.json"));
  if (tokenizer === undefined) {
    throw new MissingTokenizerError(
      `"${folder}" has no tokenizer.json; save it there with the model (a sentencepiece tokenizer.model alone is not enough)`,
    );
  }
  const [config, specialTokens, chatTemplate] = await Promise.all([
    readJson(folder, "tokenizer_config.json"),
    readJson(folder, "special_tokens_map.json"),
    readOptional(join(folder, "chat_template.jinja")),
  ]);
  return createTokenizer({
    tokenizer,
    ...(config === undefined ? {} : { config }),
    ...(specialTokens === undefined ? {} : { specialTokens }),
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
  }, folder);
}

/**
 * Makes a tokenizer of parsed files.
 *
 * A boolean `add_bos_token` or `add_eos_token` in the config wins over the post-processor in `tokenizer.json`, as in
 * transformers.
 *
 * @param source Named in messages
 * @throws {UserError} When something in the files is unsupported
 */
export async function createTokenizer(files: TokenizerFiles, source: string): Promise<Tokenizer> {
  const config = files.config ?? {};
  const { highest, addedTokens, ...around } = readTokenizerIds(
    parseObject(files.tokenizer, join(source, "tokenizer.json")),
    source,
  );
  const library = await openLibraryTokenizer(files.tokenizer, source);
  const names = specialTokenNames(files);
  const idOf = (kind: SpecialKind): number | null => specialId(library, kind, names[kind], source);
  const [bosId, eosId, padId] = [idOf("bos_token"), idOf("eos_token"), idOf("pad_token")];
  const specialIds = new Set(addedTokens.filter(({ special }) => special).map(({ id }) => id));
  for (const id of [bosId, eosId, padId]) if (id !== null) specialIds.add(id);
  const prefixIds = withToken(around.prefix, bosId, config["add_bos_token"], "before");
  const suffixIds = withToken(around.suffix, eosId, config["add_eos_token"], "after");
  const template = templateSource(files, source);
  const token = (id: number) => Number.isInteger(id) && id >= 0 && id <= highest ? library.nameOf(id) : null;
  return {
    source,
    vocabSize: highest + 1,
    bosId,
    eosId,
    padId,
    specialIds,
    specialNames: names,
    prefixIds,
    suffixIds,
    chatTemplate: template === null ? null : compileChatTemplate(template, names, source),
    async encode(text, options = {}) {
      const ids = await library.encode(text);
      return options.special === true ? [...prefixIds, ...ids, ...suffixIds] : ids;
    },
    encodeBatch: (texts) => library.encodeBatch(texts),
    decode(ids, options = {}) {
      const shown = Array.from(ids).filter((id) => options.keepSpecial === true || !specialIds.has(id));
      const tokens = shown.map(token).filter((name) => name !== null);
      return tokens.length === 0 ? "" : library.decode(tokens);
    },
    token,
  };
}

/**
 * Checks that every token has a row in the model's embedding.
 *
 * @throws {UserError} When the tokenizer has ids beyond the model's vocabulary
 */
export function checkVocabulary(tokenizer: Tokenizer, modelVocabSize: number): void {
  if (tokenizer.vocabSize <= modelVocabSize) return;
  throw new UserError(
    `The tokenizer of "${tokenizer.source}" has ids up to ${
      tokenizer.vocabSize - 1
    }, but the model's vocab_size is ` +
      `${modelVocabSize}; use the tokenizer that belongs to this model`,
  );
}

type SpecialKind = "bos_token" | "eos_token" | "pad_token" | "unk_token";
type SpecialNames = Readonly<Record<SpecialKind, string | null>>;

/** `"</s>"`, or `{content: "</s>"}` as added-token objects are written. */
function tokenName(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return null;
  const content = (value as Record<string, unknown>)["content"];
  return typeof content === "string" ? content : null;
}

function specialTokenNames(files: TokenizerFiles): SpecialNames {
  const name = (kind: SpecialKind): string | null =>
    tokenName(files.config?.[kind]) ?? tokenName(files.specialTokens?.[kind]);
  return {
    bos_token: name("bos_token"),
    eos_token: name("eos_token"),
    pad_token: name("pad_token"),
    unk_token: name("unk_token"),
  };
}

function specialId(
  library: LibraryTokenizer,
  kind: SpecialKind,
  name: string | null,
  source: string,
): number | null {
  if (name === null) return null;
  const id = library.idOf(name);
  if (id === null) {
    throw new UserError(
      `The ${kind} "${name}" of "${source}" is not in the vocabulary of tokenizer.json; ` +
        `mend ${kind} in tokenizer_config.json`,
    );
  }
  return id;
}

function withToken(
  ids: readonly number[],
  id: number | null,
  wanted: unknown,
  side: "before" | "after",
): readonly number[] {
  if (typeof wanted !== "boolean" || id === null || ids.includes(id) === wanted) return ids;
  if (!wanted) return ids.filter((other) => other !== id);
  return side === "before" ? [id, ...ids] : [...ids, id];
}

/** The template text; of several named ones, "default". */
function templateSource(files: TokenizerFiles, source: string): string | null {
  if (files.chatTemplate !== undefined) return files.chatTemplate;
  const value = files.config?.["chat_template"];
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return value;
  const named = Array.isArray(value)
    ? value.map((entry) => [entry?.name, entry?.template])
    : Object.entries(value as Record<string, unknown>);
  const chosen = named.find(([name]) => name === "default")?.[1];
  if (typeof chosen === "string") return chosen;
  throw new UserError(
    `tokenizer_config.json of "${source}" has chat templates named ${
      named.map(([name]) => `"${name}"`).join(", ")
    }, ` +
      `but none named "default"; name one of them "default" or put it into chat_template.jinja`,
  );
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(`Cannot read "${path}": ${reason}`, { cause: error });
  }
}

async function readJson(folder: string, name: string): Promise<Record<string, unknown> | undefined> {
  const path = join(folder, name);
  const text = await readOptional(path);
  return text === undefined ? undefined : parseObject(text, path);
}

function parseObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(`"${path}" is not JSON: ${reason}; fetch the file again`, { cause: error });
  }
  if (isJsonObject(value)) return value as Record<string, unknown>;
  throw new UserError(`"${path}" is not a JSON object`);
}
