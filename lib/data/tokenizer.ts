// SPDX-License-Identifier: Apache-2.0
/** Text to token ids and back, as a Hugging Face model folder describes it. */
import { createHash } from "node:crypto";
import { throwIfAny, UserError } from "../core/errors.ts";
import type { ChatTemplate } from "./chat_template.ts";
import { chooseTemplate } from "./chosen_template.ts";
import { languagesOf, settledIds, surroundings } from "./around_texts.ts";
import { mistralPreTokenizer } from "./mistral_regex.ts";
import { addedTokenProblem, type DeclaredTokens, declareTokens, show } from "./special_tokens.ts";
import type { TokenizerClass } from "./followed_class.ts";
import { type LanguageMarks, withLanguages } from "./languages.ts";
import { chooseClass } from "./tokenizer_class.ts";
import {
  type Fields,
  MissingTokenizerError,
  parseObject,
  readTokenizerFiles,
  type TokenizerFiles,
} from "./tokenizer_files.ts";
import { firstProblems, readTokenizerIds, type TokenizerIds } from "./tokenizer_json.ts";
import {
  type Encoding,
  LIBRARY_VERSION,
  type LibraryTokenizer,
  openLibraryTokenizer,
} from "./tokenizer_library.ts";
import { longestText } from "./tokenizer_parts.ts";

/** Text to token ids and back. */
export interface Tokenizer extends LanguageMarks {
  /** The class with which transformers opens it; absent where no folder was read. */
  readonly className?: string;
  /** Highest token id + 1. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  /** Ids of special tokens: decoding leaves them out unless it is asked to keep them. */
  readonly specialIds: ReadonlySet<number>;
  /** Names of special tokens by their role (`bos_token`, …), as chat templates see them; null where there is none. */
  readonly specialNames: Readonly<Record<string, string | null>>;
  /** Null when the model has none that can be used. */
  readonly chatTemplate: ChatTemplate | null;
  /** Why the model's chat template cannot be used; an error only where it is asked for. */
  readonly chatTemplateProblem?: UserError;
  /** Whether later tokens change the text of earlier ones: the text of a stream comes at its end. */
  readonly decodesWhole?: boolean;
  /** Encodes texts on all cores, without prefix and suffix. Names of special tokens inside become those tokens. */
  encodeBatch(texts: readonly string[]): Promise<Encoding[]>;
  /** Text of ids, byte for byte: spaces before punctuation stay. Special tokens are left out unless kept. */
  decode(ids: ArrayLike<number>, options?: { readonly keepSpecial?: boolean }): string;
  /** The name of a token in the vocabulary; null for an id that has none. */
  token(id: number): string | null;
}

/**
 * Loads the tokenizer of a model folder as `AutoTokenizer` of transformers 5.24 does: `tokenizer.json`, and where present
 * `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, `chat_template.jinja`,
 * `additional_chat_templates` and `config.json`.
 *
 * @throws {MissingTokenizerError} When there is no `tokenizer.json`, nor a vocabulary whose class says what to make of it
 * @throws {UserError} When a file is not JSON, or asks for something unsupported; the message names it
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  return await createTokenizer(await readTokenizerFiles(folder), folder);
}

/**
 * Makes a tokenizer of files.
 *
 * What goes around a text is the post-processor's alone: `add_bos_token` and `add_eos_token` of `tokenizer_config.json`
 * mean nothing beside a `tokenizer.json`, as in transformers since version 5. Tokens that only the other files declare
 * are added.
 *
 * @param source Named in messages
 * @throws {UserError} When something in the files is unsupported
 */
export async function createTokenizer(files: TokenizerFiles, source: string): Promise<Tokenizer> {
  const { config = {}, model = null } = files;
  const json = parseObject(files.tokenizer, `${source}/tokenizer.json`);
  const ids = readTokenizerIds(json, source);
  const chosen = chooseClass(json, config, model, source);
  if (files.madeOf !== undefined && chosen.rebuild === undefined) {
    throw new MissingTokenizerError(
      `"${source}" has ${files.madeOf} and no tokenizer.json, and the class ${chosen.name} does not say what to make of ` +
        `them; save tokenizer.json there with the model`,
    );
  }
  const declared = declareChecked(files, json, chosen, ids, source);
  const text = effectiveText(files, json, chosen, ids, declared);
  const library = await openLibraryTokenizer(text, source, longestText(json));
  const tokenProblems = [...ids.addedTokens, ...declared.added]
    .map((token) => addedTokenProblem(token, library.normalize)).filter((problem) => problem !== null);
  throwIfAny(`The tokenizer of "${source}"`, firstProblems(tokenProblems));
  library.add(declared.added);
  if (chosen.rebuild === undefined) checkIds(library, ids.addedTokens, source);
  return assemble(files, { json, ids, chosen, declared, library, text }, source);
}

/** What a tokenizer is made of. */
interface Parts {
  readonly json: Fields;
  readonly ids: TokenizerIds;
  readonly chosen: TokenizerClass;
  readonly declared: DeclaredTokens;
  readonly library: LibraryTokenizer;
  /** What the library read. */
  readonly text: string;
}

function assemble(
  files: TokenizerFiles,
  parts: Parts,
  source: string,
): Tokenizer {
  const { json, ids, chosen, declared, library } = parts;
  const { names } = declared;
  const idOf = (role: string): number | null => names[role] == null ? null : library.idOf(names[role]);
  const [bosId, eosId, padId] = [idOf("bos_token"), idOf("eos_token"), idOf("pad_token")];
  const tokens = [...(chosen.rebuild === undefined ? ids.addedTokens : []), ...declared.added]
    .flatMap(({ content, special }) => ({ id: library.idOf(content), special }));
  const highest = tokens.reduce((most, { id }) => Math.max(most, id ?? -1), ids.highest);
  const specialIds = new Set(tokens.flatMap(({ id, special }) => special && id !== null ? [id] : []));
  for (const id of [bosId, eosId, padId]) if (id !== null) specialIds.add(id);
  const around = chosen.around !== undefined
    ? surroundings(chosen.around, idOf)
    : files.madeOf === undefined
    ? ids
    : settledIds(files.config ?? {}, idOf);
  const cleans = cleansSpaces(json, files);
  const languages = chosen.language === undefined ? null : languagesOf(chosen, idOf, library.idOf);
  const token = (id: number) => Number.isInteger(id) && id >= 0 && id <= highest ? library.nameOf(id) : null;
  const made: Tokenizer = {
    source,
    identity: identityOf(files, parts),
    className: chosen.name,
    vocabSize: highest + 1,
    bosId,
    eosId,
    padId,
    specialIds,
    specialNames: names,
    prefixIds: around.prefix,
    suffixIds: around.suffix,
    pairIds: around.pair,
    ...templateOf(files, names, source),
    ...(cleans ? { decodesWhole: true } : {}),
    async encode(text, options = {}) {
      const own = await library.encode(text);
      return options.special === true ? [...around.prefix, ...own, ...around.suffix] : own;
    },
    encodeBatch: (texts) => library.encodeBatch(texts),
    decode(all, options = {}) {
      const shown = Array.from(all).filter((id) => options.keepSpecial === true || !specialIds.has(id));
      const named = shown.map(token).filter((name) => name !== null);
      if (named.length === 0) return "";
      return cleans ? cleanSpaces(library.decode(named)) : library.decode(named);
    },
    token,
  };
  return languages === null ? made : inLanguages({ ...made, languages }, files.config ?? {});
}

/** The languages that the folder names. Without a name English is read, as transformers has it, and what is read is written. */
function inLanguages(tokenizer: Tokenizer, { src_lang: given, tgt_lang: target }: Fields): Tokenizer {
  const srcLang = typeof given === "string" ? given : "en_XX";
  const read = withLanguages(tokenizer, { srcLang });
  return typeof target === "string" ? withLanguages(read, { tgtLang: target }) : read;
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

function declareChecked(
  files: TokenizerFiles,
  json: Fields,
  chosen: TokenizerClass,
  ids: TokenizerIds,
  source: string,
): DeclaredTokens {
  const { config = {}, specialTokens = null, addedTokens = null } = files;
  const problems: string[] = [];
  if (config["split_special_tokens"]) {
    problems.push(
      "split_special_tokens takes names of special tokens apart, which is not supported; set it to false",
    );
  }
  const versions = config["fast_tokenizer_files"];
  if (Array.isArray(versions) && versions.some((name) => name !== "tokenizer.json")) {
    problems.push(
      "fast_tokenizer_files names other files than tokenizer.json, which is not supported; leave it out",
    );
  }
  const declared = declareTokens({ json, config, specialTokens, addedTokens }, chosen, ids.knows, problems);
  throwIfAny(`What stands beside tokenizer.json of "${source}"`, problems);
  return declared;
}

/** The text that the library reads: the file's own, unless a class of transformers puts other parts into it. */
function effectiveText(
  { tokenizer, config = {}, model }: TokenizerFiles,
  json: Fields,
  chosen: TokenizerClass,
  ids: TokenizerIds,
  declared: DeclaredTokens,
): string {
  const rebuilt = chosen.rebuild === undefined
    ? json
    : { ...json, ...chosen.rebuild(json, config), added_tokens: [] };
  const further = new Set([...ids.addedTokens, ...declared.added].map(({ content }) => content));
  const size = ids.size + [...further].filter((content) => !ids.inVocabulary(content)).length;
  const patched = mistralPreTokenizer(rebuilt["pre_tokenizer"], config, model ?? null, size);
  if (patched !== undefined) return JSON.stringify({ ...rebuilt, pre_tokenizer: patched });
  return rebuilt === json ? tokenizer : JSON.stringify(rebuilt);
}

/** The library numbers added tokens itself, and takes no notice of the ids that a file gives them. */
function checkIds(
  library: LibraryTokenizer,
  tokens: TokenizerIds["addedTokens"],
  source: string,
): void {
  const problems = tokens.flatMap(({ content, id }) => {
    const real = library.idOf(content);
    if (real === id || content === "") return [];
    return [
      `the added token ${show(content)} has the id ${id}, where the tokenizers library gives it ${real}`,
    ];
  });
  throwIfAny(`tokenizer.json of "${source}"`, firstProblems(problems));
}

function identityOf({ config = {}, chatTemplate, namedTemplates }: TokenizerFiles, parts: Parts): string {
  const { text, chosen, declared } = parts;
  const templates = [chatTemplate, namedTemplates, config["chat_template"]];
  const beside = JSON.stringify([LIBRARY_VERSION, chosen.name, declared, templates]);
  return createHash("sha256").update(beside).update("\0").update(text).digest("hex");
}

function templateOf(
  files: TokenizerFiles,
  names: DeclaredTokens["names"],
  source: string,
): Pick<Tokenizer, "chatTemplate" | "chatTemplateProblem"> {
  try {
    return { chatTemplate: chooseTemplate(files, names, source) };
  } catch (error) {
    if (error instanceof UserError) return { chatTemplate: null, chatTemplateProblem: error };
    throw error;
  }
}

/** Whether transformers takes spaces out of what it decodes: it is asked to, and the vocabulary is none of BPE. */
function cleansSpaces(json: Fields, { config = {}, model }: TokenizerFiles): boolean {
  if (model === undefined || !config["clean_up_tokenization_spaces"]) return false;
  const { type } = json["model"] as Fields;
  return (type ?? "BPE") !== "BPE" ||
    Boolean(config["clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"]);
}

const CLEANED: readonly (readonly [string, string])[] = [
  ...[".", "?", "!", ","].map((mark) => [` ${mark}`, mark] as const),
  [" ' ", "'"],
  ...["n't", "'m", "'s", "'ve", "'re"].map((ending) => [` ${ending}`, ending] as const),
];

function cleanSpaces(text: string): string {
  return CLEANED.reduce((cleaned, [before, after]) => cleaned.replaceAll(before, after), text);
}
