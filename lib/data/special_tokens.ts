// SPDX-License-Identifier: Apache-2.0
/**
 * The tokens that the files beside `tokenizer.json` declare, and which of them have a role, as transformers 5.24 gathers
 * them: `added_tokens_decoder` of `tokenizer_config.json` makes `special_tokens_map.json` and `added_tokens.json` void,
 * without it they win.
 */
import { isJsonObject } from "../core/json.ts";
import type { TokenizerClass } from "./followed_class.ts";

type Json = Readonly<Record<string, unknown>>;

/** A token as it is added to a tokenizer. */
export interface TokenSpec {
  readonly content: string;
  readonly singleWord: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Found in the text after normalization, not before it. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** What the files declare. */
export interface DeclaredTokens {
  /** In the order they are added to what `tokenizer.json` has; of several with one content the last decides. */
  readonly added: readonly TokenSpec[];
  /** Contents by role (`bos_token`, …), as chat templates see them; null where there is none. */
  readonly names: Readonly<Record<string, string | null>>;
}

/** The files beside `tokenizer.json`, parsed. */
export interface TokenFiles {
  readonly json: Json;
  readonly config: Json;
  readonly specialTokens: Json | null;
  readonly addedTokens: Json | null;
}

const ROLES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

/** A text, which becomes a special token, or a token with flags. */
type Declared = string | TokenSpec;

/**
 * Gathers the tokens.
 *
 * What a class has by default is left out where `tokenizer.json` does not know it: transformers would add it to the
 * end of the vocabulary, where the model has no row for it.
 *
 * @param known Whether `tokenizer.json` has a token of this content
 * @param problems Sentences for what is of a wrong kind @mutates
 */
export function declareTokens(
  files: TokenFiles,
  chosen: TokenizerClass,
  known: (content: string) => boolean,
  problems: string[],
): DeclaredTokens {
  const { settings, specific } = gatherSettings(files, chosen);
  const decoder = declaredDecoder(files, settings, problems);
  const flags = new Map(decoder.map((token) => [token.content, token]));
  const named = nameTokens(settings, specific, flags, problems);
  for (const [role, content] of Object.entries(chosen.defaults ?? {})) {
    if (role in settings) continue;
    named.set(role, content !== null && (known(content) || flags.has(content)) ? content : null);
  }
  const extra = [...asTokens(settings["extra_special_tokens"] ?? [], "extra_special_tokens", problems)];
  if (!("extra_special_tokens" in settings)) extra.push(...(chosen.extraTokens ?? []).filter(known));
  const kept = chosen.rebuild === undefined ? contents(files.json["added_tokens"]) : [];
  const encoder = new Set([...kept, ...flags.keys()]);
  const roles = [...named.values()].filter((token) => token !== null);
  const missing = [...roles, ...extra].filter((token) => !encoder.has(contentOf(token)));
  const roleContents = new Set(roles.map(contentOf));
  const first = [...decoder, ...missing].map((token): TokenSpec => {
    if (typeof token === "string") return plainSpecial(token);
    return roleContents.has(token.content) ? { ...token, special: true } : token;
  });
  const again = chosen.addsPlainly === true ? [...roles, ...extra].map(contentOf).map(plainSpecial) : [];
  return {
    added: [...first, ...again],
    names: {
      bos_token: null,
      eos_token: null,
      pad_token: null,
      unk_token: null,
      ...Object.fromEntries(
        [...named].map(([role, token]) => [role, token === null ? null : contentOf(token)]),
      ),
    },
  };
}

/** Settings by name, and the names among them that are roles whatever they end in. */
interface Settings {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly specific: ReadonlySet<string>;
}

/** `tokenizer_config.json` with what older files add to it; `extra_special_tokens` is a list there. */
function gatherSettings({ json, config, specialTokens }: TokenFiles, chosen: TokenizerClass): Settings {
  const settings: Record<string, unknown> = { ...config };
  const specific = new Set<string>();
  const takeRoles = (roles: unknown): void => {
    if (!isJsonObject(roles)) return;
    Object.assign(settings, roles);
    for (const role of Object.keys(roles)) specific.add(role);
  };
  const { additional_special_tokens: additional, extra_special_tokens: extra } = config;
  if (additional !== undefined && !isFilled(extra)) settings["extra_special_tokens"] = additional;
  takeRoles(config["model_specific_special_tokens"]);
  if (specialTokens !== null && !isJsonObject(config["added_tokens_decoder"])) {
    mergeOlder(settings, specialTokens);
  }
  if (isJsonObject(settings["extra_special_tokens"])) {
    const roles = settings["extra_special_tokens"];
    delete settings["extra_special_tokens"];
    takeRoles(roles);
  }
  const { padding } = json;
  const pads = isJsonObject(padding) && !("pad_token" in (chosen.defaults ?? {}));
  if (pads && !("pad_token" in settings)) settings["pad_token"] = padding["pad_token"];
  return { settings, specific };
}

/** `special_tokens_map.json` wins over `tokenizer_config.json`. @mutates settings */
function mergeOlder(settings: Record<string, unknown>, specialTokens: Json): void {
  for (const [key, value] of Object.entries(specialTokens)) {
    const before = settings[key];
    if (key === "extra_special_tokens" && Array.isArray(value)) {
      settings[key] = [...(Array.isArray(before) ? before : []), ...value.map(asSpecial)];
    } else settings[key] = key === "extra_special_tokens" ? value : asSpecial(value);
  }
  const { additional_special_tokens: additional } = specialTokens;
  if (additional !== undefined && !("extra_special_tokens" in settings)) {
    settings["extra_special_tokens"] = additional;
  }
}

function asSpecial(value: unknown): unknown {
  return isJsonObject(value) ? { ...value, special: true } : value;
}

/** As Python takes a value for true. */
function isFilled(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return isJsonObject(value) ? Object.keys(value).length > 0 : Boolean(value);
}

/** The tokens that files declare by id, ascending. The ids tell no more: the library numbers the tokens itself. */
function declaredDecoder(
  { json, config, addedTokens }: TokenFiles,
  settings: Json,
  problems: string[],
): TokenSpec[] {
  const entries = new Map<number, TokenSpec>();
  const take = (where: string, id: number, value: unknown): void => {
    const token = asToken(value);
    if (token === null) problems.push(`${where} declares ${show(value)}, expected a token`);
    else if (!Number.isInteger(id) || id < 0 || id >= 2 ** 31) {
      problems.push(
        `${where} gives token ${show(token.content)} the id ${id}, expected a whole number from 0`,
      );
    } else entries.set(id, token);
  };
  const decoder = config["added_tokens_decoder"];
  if (isJsonObject(decoder)) {
    const where = "added_tokens_decoder of tokenizer_config.json";
    for (const [id, value] of Object.entries(decoder)) {
      take(where, id.trim() === "" ? NaN : Number(id), value);
    }
  } else {
    const special = new Set(
      [...ROLES.map((role) => settings[role]), ...asList(settings["extra_special_tokens"])].map(textOf),
    );
    for (const [content, id] of Object.entries(addedTokens ?? {})) {
      const isSpecial = special.has(content);
      const token = { ...plainSpecial(content), normalized: !isSpecial, special: isSpecial };
      take("added_tokens.json", typeof id === "number" ? id : NaN, token);
    }
    for (const token of asList(json["added_tokens"])) {
      take("tokenizer.json", (token as Json)["id"] as number, token);
    }
  }
  return [...entries].sort(([a], [b]) => a - b).map(([, token]) => token);
}

/** Tokens by role; a role's flags are those under which its token is declared. */
function nameTokens(
  settings: Json,
  specific: ReadonlySet<string>,
  flags: ReadonlyMap<string, TokenSpec>,
  problems: string[],
): Map<string, Declared | null> {
  const named = new Map<string, Declared | null>();
  const further = Object.keys(settings).filter((key) =>
    specific.has(key) || (key.endsWith("_token") && asDeclared(settings[key]) !== null)
  );
  for (const role of new Set([...ROLES, ...further])) {
    const value = settings[role];
    if (value === undefined) continue;
    const token = asDeclared(value);
    if (token === null && value !== null) {
      problems.push(`${role} is ${show(value)}, expected the text of a token`);
    }
    const isRole = (ROLES as readonly string[]).includes(role);
    named.set(role, token === null ? null : (isRole ? flags.get(contentOf(token)) : undefined) ?? token);
  }
  return named;
}

function asTokens(value: unknown, name: string, problems: string[]): Declared[] {
  return asList(value).flatMap((entry) => {
    const token = asDeclared(entry);
    if (token === null) problems.push(`${name} has ${show(entry)}, expected the text of a token`);
    return token === null ? [] : [token];
  });
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function asDeclared(value: unknown): Declared | null {
  return typeof value === "string" ? value : asToken(value);
}

/** A token object: `{content: "<s>", lstrip: false, …}`; flags that are absent are false, but `normalized`. */
function asToken(value: unknown): TokenSpec | null {
  if (!isJsonObject(value) || typeof value["content"] !== "string") return null;
  const { content, single_word: singleWord, lstrip, rstrip, normalized, special } = value;
  const isSpecial = special === true;
  return {
    content,
    singleWord: singleWord === true,
    lstrip: lstrip === true,
    rstrip: rstrip === true,
    normalized: typeof normalized === "boolean" ? normalized : !isSpecial,
    special: isSpecial,
  };
}

/**
 * What is wrong with a token that is found in texts; null for nothing. One that normalization leaves nothing of ends the process
 * in the library. One of white space is found at every place of a run of it, and from each strips all of the run: 20,000
 * spaces took a minute.
 *
 * @param normalize As the tokenizer normalizes texts
 */
export function addedTokenProblem(
  { content, lstrip, rstrip, normalized }: Omit<TokenSpec, "singleWord" | "special">,
  normalize: (text: string) => string,
): string | null {
  const found = normalized ? normalize(content) : content;
  if (found === "" && content !== "") {
    return `the token ${show(content)} is nothing once it is normalized, so that no text has it`;
  }
  const isSpace = [content, found].some((text) => /^[\s\u0085]+$/u.test(text));
  if (!isSpace || !(lstrip || rstrip)) return null;
  return `the token ${
    show(content)
  } is white space and strips white space (lstrip, rstrip), which is not supported`;
}

function plainSpecial(content: string): TokenSpec {
  return { content, singleWord: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

function contentOf(token: Declared): string {
  return typeof token === "string" ? token : token.content;
}

function textOf(value: unknown): string | null {
  const token = asDeclared(value);
  return token === null ? null : contentOf(token);
}

function contents(value: unknown): string[] {
  return asList(value).map(textOf).filter((content) => content !== null);
}

/** A value for a message, at most some sixty characters of it. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
