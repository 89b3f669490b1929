// SPDX-License-Identifier: Apache-2.0
/** The files of a model folder that make a tokenizer. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import { parseJsonText } from "../core/json_text.ts";
import { makeFolder } from "../files/folders.ts";
import { writeTextAtomically } from "../files/write.ts";
import { isFolder, listFolder, MOST_TEXT_BYTES, readTextIfThere } from "../files/read.ts";
import { MOST_TEMPLATE_BYTES } from "./chat_template.ts";
import { bytePairFile, wordPieceFile } from "./vocabulary_files.ts";

/** A parsed JSON object. */
export type Fields = Readonly<Record<string, unknown>>;

/** The files of a tokenizer. */
export interface TokenizerFiles {
  /** Text of `tokenizer.json`. */
  readonly tokenizer: string;
  /** The files that the text was made of, where there is no such file. */
  readonly madeOf?: string;
  /** Parsed `tokenizer_config.json`. */
  readonly config?: Fields;
  /** Parsed `special_tokens_map.json`. */
  readonly specialTokens?: Fields;
  /** Parsed `added_tokens.json`. */
  readonly addedTokens?: Fields;
  /** Text of `chat_template.jinja`. */
  readonly chatTemplate?: string;
  /** Texts of `additional_chat_templates/*.jinja` by name. */
  readonly namedTemplates?: Readonly<Record<string, string>>;
  /** Parsed `config.json`, by which transformers chooses a class of tokenizer. */
  readonly model?: Fields;
}

/** A model folder without a tokenizer. */
export class MissingTokenizerError extends UserError {
  override readonly name = "MissingTokenizerError";
}

/**
 * Reads the files of a folder.
 *
 * @param modelFolder Whose `config.json` chooses the class. Default: the folder itself
 * @throws {MissingTokenizerError} When there is no `tokenizer.json` and no vocabulary
 * @throws {UserError} When a file cannot be read, or is not JSON
 */
export async function readTokenizerFiles(folder: string, modelFolder = folder): Promise<TokenizerFiles> {
  const tokenizer = await readOptional(join(folder, "tokenizer.json"));
  const made = tokenizer === undefined ? await readVocabulary(folder) : { tokenizer };
  if (made === undefined) {
    throw new MissingTokenizerError(
      `"${folder}" has no tokenizer.json; save it there with the model (a sentencepiece tokenizer.model alone is not enough)`,
    );
  }
  const parts = await Promise.all([
    readJson(folder, "config", "tokenizer_config.json"),
    readJson(folder, "specialTokens", "special_tokens_map.json"),
    readJson(folder, "addedTokens", "added_tokens.json"),
    readJson(modelFolder, "model", "config.json"),
    readOptional(join(folder, "chat_template.jinja"), MOST_TEMPLATE_BYTES).then((chatTemplate) =>
      chatTemplate === undefined ? {} : { chatTemplate }
    ),
    readTemplates(join(folder, TEMPLATES)),
  ]);
  return Object.assign(made, ...parts);
}

/** What transformers takes for any `tokenizer.json`. */
const ANY_CLASS = "PreTrainedTokenizerFast";

/**
 * Writes the files into a folder, so that transformers opens them as it opened those of the model's.
 *
 * @param className With which it does, where the files do not say it: beside an adapter there is no `config.json` that would.
 *   Default: the class that takes the files as they are
 * @throws {UserError} When the disk is full
 */
export async function writeTokenizerFiles(
  folder: string,
  files: TokenizerFiles,
  className = ANY_CLASS,
): Promise<void> {
  const json = (value: unknown) => JSON.stringify(value, null, 2) + "\n";
  const config = { ...files.config, tokenizer_class: files.config?.["tokenizer_class"] ?? className };
  const texts: Record<string, string | undefined> = {
    "tokenizer.json": files.tokenizer,
    "tokenizer_config.json": json(config),
    "special_tokens_map.json": files.specialTokens && json(files.specialTokens),
    "added_tokens.json": files.addedTokens && json(files.addedTokens),
    "chat_template.jinja": files.chatTemplate,
  };
  const named = Object.entries(files.namedTemplates ?? {});
  if (named.length > 0) await makeFolder(join(folder, TEMPLATES));
  for (const [name, text] of named) texts[join(TEMPLATES, `${name}.jinja`)] = text;
  for (const [name, text] of Object.entries(texts)) {
    if (text !== undefined) await writeTextAtomically(join(folder, name), text);
  }
}

/** The folder of further chat templates. */
const TEMPLATES = "additional_chat_templates";

/** Parses the text of a file that holds a JSON object. */
export function parseObject(text: string, path: string): Fields {
  let value: unknown;
  try {
    value = parseJsonText(text);
  } catch (error) {
    throw new UserError(`"${path}" ${(error as Error).message}`, { cause: error });
  }
  if (isJsonObject(value)) return value;
  throw new UserError(`"${path}" is not a JSON object`);
}

/** A `tokenizer.json` made of the vocabulary that older folders have alone: GPT-2's two files, or BERT's one. */
async function readVocabulary(
  folder: string,
): Promise<Pick<TokenizerFiles, "tokenizer" | "madeOf"> | undefined> {
  const [vocab, merges, words] = await Promise.all(
    ["vocab.json", "merges.txt", "vocab.txt"].map((name) => readOptional(join(folder, name))),
  );
  if (vocab !== undefined && merges !== undefined) {
    const entries = parseObject(vocab, join(folder, "vocab.json"));
    return { tokenizer: bytePairFile(entries, merges), madeOf: "vocab.json, merges.txt" };
  }
  return words === undefined ? undefined : { tokenizer: wordPieceFile(words), madeOf: "vocab.txt" };
}

async function readJson(
  folder: string,
  key: keyof TokenizerFiles,
  name: string,
): Promise<Partial<TokenizerFiles>> {
  const path = join(folder, name);
  const text = await readOptional(path);
  return text === undefined ? {} : { [key]: parseObject(text, path) };
}

async function readTemplates(folder: string): Promise<Pick<TokenizerFiles, "namedTemplates">> {
  const namedTemplates: Record<string, string> = {};
  for (const { name } of await isFolder(folder) ? await listFolder(folder) : []) {
    const text = name.endsWith(".jinja")
      ? await readOptional(join(folder, name), MOST_TEMPLATE_BYTES)
      : undefined;
    if (text !== undefined) namedTemplates[name.slice(0, -".jinja".length)] = text;
  }
  return Object.keys(namedTemplates).length === 0 ? {} : { namedTemplates };
}

async function readOptional(path: string, maxBytes = MOST_TEXT_BYTES): Promise<string | undefined> {
  return await readTextIfThere(path, { maxBytes }) ?? undefined;
}
