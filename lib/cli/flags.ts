// SPDX-License-Identifier: Apache-2.0
/**
 * Flags as data: one table a command, from which come the help, the parser, the config file's keys and every message.
 * All mistakes of a command line are found together.
 */
import { type Command, Option } from "commander";
import { isJsonObject, type Json, type JsonObject } from "../core/json.ts";
import { quotedValue } from "../core/quoted.ts";
import { nearestName } from "../core/suggestion.ts";

/**
 * What a flag's value is; `values` are texts, or whatever JSON a config file has, as its text; `integers` may be ranges, `0-3`;
 * `pairs` are names with values, `KEY=VALUE` on a command line and an object in a config file; `numbers` are numbers by key in
 * the same way.
 */
export type FlagKind =
  | "text"
  | "texts"
  | "integer"
  | "integers"
  | "number"
  | "numbers"
  | "switch"
  | "values"
  | "pairs";

/** One flag. */
export interface Flag {
  /** Kebab-case, without the dashes. */
  readonly name: string;
  readonly kind: FlagKind;
  readonly help: string;
  /** Shown in the help; the value itself is the callee's business unless `default` is set. */
  readonly defaultText?: string;
  readonly choices?: readonly string[];
  /** What the help shows in place of the value. Default: the choices, or the kind. */
  readonly placeholder?: string;
  /** Texts that are names, of which these are the usual ones; several may be joined by commas. Or one regular expression. */
  readonly names?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  /** Whether min itself is refused. */
  readonly above?: boolean;
  /** The flag that this one stands in for: one source gives one of the two, and the higher source's counts. */
  readonly insteadOf?: string;
  /** Methods the flag makes sense for; absent: all. */
  readonly methods?: readonly string[];
}

/** Values by flag name; a flag that was not given is absent. */
export type FlagValues = Readonly<
  Record<string, string | readonly string[] | number | readonly number[] | boolean | JsonObject>
>;

/** Kinds of flags that take several values, and may be given several times. */
export const SEVERAL: ReadonlySet<FlagKind> = new Set(["texts", "integers", "numbers", "values", "pairs"]);

/** `top-k` as `topK`. */
export function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** What a reader of the help sees in place of the value. */
function placeholder(flag: Flag): string {
  if (flag.kind === "switch") return "";
  const kinds = {
    text: "text",
    texts: "text",
    integer: "number",
    integers: "number",
    number: "number",
    numbers: "KEY=NUMBER",
    values: "text",
    pairs: "KEY=VALUE",
  };
  const what = flag.placeholder ?? flag.choices?.join("|") ?? kinds[flag.kind];
  return ` <${what}${SEVERAL.has(flag.kind) ? "..." : ""}>`;
}

/**
 * Adds the flags to a command, for its help and its parser. Values arrive as text, those of a flag that takes one as a list of
 * all that were given, and are checked by `readFlags`.
 */
export function declareFlags(command: Command, flags: readonly Flag[]): Command {
  for (const flag of flags) {
    const help = flag.defaultText === undefined ? flag.help : `${flag.help} (default: ${flag.defaultText})`;
    const option = new Option(`--${flag.name}${placeholder(flag)}`, help);
    if (flag.kind !== "switch" && !SEVERAL.has(flag.kind)) {
      option.argParser((value, before: readonly string[] | undefined) => [...before ?? [], value]);
    }
    command.addOption(option);
  }
  return command.allowUnknownOption().allowExcessArguments();
}

/** A number, also as decimal text; NaN for anything else. */
function numberOf(raw: unknown): number {
  if (typeof raw === "number") return raw;
  const isDecimal = typeof raw === "string" && /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(raw);
  return isDecimal ? Number(raw) : NaN;
}

function readNumber(flag: Flag, label: string, raw: unknown, problems: string[]): number | null {
  const value = numberOf(raw);
  const what = flag.kind === "integer" ? "a whole number" : "a number";
  const { min = -Infinity, max = Infinity } = flag;
  const inRange = value <= max && (flag.above ? value > min : value >= min);
  if (!Number.isFinite(value) || (flag.kind === "integer" && !Number.isSafeInteger(value)) || !inRange) {
    const low = min === -Infinity ? "" : ` ${flag.above ? "above" : "from"} ${min}`;
    const high = max === Infinity ? "" : ` up to ${max}`;
    problems.push(`${label} is ${quotedValue(raw)}, expected ${what}${low}${high}`);
    return null;
  }
  return value;
}

/** A text that the flag allows; null, with a problem, when it is none. @mutates problems */
export function readText(flag: Flag, label: string, raw: unknown, problems: string[]): string | null {
  if (typeof raw !== "string" || raw === "") {
    problems.push(`${label} is ${quotedValue(raw)}, expected text`);
    return null;
  }
  if (flag.choices && !flag.choices.includes(raw)) {
    const hint = nearestName(raw, flag.choices);
    const guess = hint === null ? "" : `; did you mean ${hint}?`;
    problems.push(`${label} is ${quotedValue(raw)}, expected one of ${flag.choices.join(", ")}${guess}`);
    return null;
  }
  return raw;
}

/** `KEY=VALUE` texts and objects as one object; a value that is JSON is what it says, any other is text. */
function readPairs(label: string, raw: unknown, problems: string[]): JsonObject {
  const pairs: [string, Json][] = [];
  for (const item of [raw].flat()) {
    if (isJsonObject(item as Json)) {
      pairs.push(...Object.entries(item as JsonObject));
      continue;
    }
    const [, key = "", value = ""] = /^([^=]+)=(.*)$/s.exec(String(item)) ?? [];
    if (key === "") problems.push(`${label} is ${quotedValue(item)}, expected KEY=VALUE`);
    else pairs.push([key.trim(), jsonOrText(value)]);
  }
  refuseTwice(label, pairs, problems);
  return Object.fromEntries(pairs);
}

function refuseTwice(
  label: string,
  pairs: readonly (readonly [string, unknown])[],
  problems: string[],
): void {
  const seen = new Set<string>();
  const twice = pairs.map(([key]) => key).filter((key) => key !== "" && seen.size === seen.add(key).size);
  for (const key of new Set(twice)) problems.push(`${label} gives ${key} twice`);
}

function jsonOrText(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

/** Whether a text of names can only be a regular expression. */
export function isPattern(text: string): boolean {
  return /[^\w.,+-]/.test(text);
}

/** Numbers joined by commas, and ranges. */
function readIntegers(flag: Flag, label: string, raw: unknown, problems: string[]): number[] | null {
  const items = [raw].flat().flatMap((item) => typeof item === "string" ? item.split(",") : [item]);
  const numbers: unknown[] = [];
  for (const item of items) {
    const [, first, last] = /^(\d+)-(\d+)$/.exec(String(item)) ?? [];
    const [from, to] = [Number(first), Number(last)];
    // Beyond the safe integers a count would never come to its end.
    const isRange = Number.isSafeInteger(to) && from <= to && to - from <= MOST_NUMBERS;
    if (!isRange) numbers.push(item);
    else for (let number = from; number <= to; number++) numbers.push(number);
    if (numbers.length <= MOST_NUMBERS) continue;
    problems.push(`${label} has more than ${MOST_NUMBERS} numbers`);
    return null;
  }
  const read = numbers.map((item) => readNumber({ ...flag, kind: "integer" }, label, item, problems));
  return read.every((number) => number !== null) ? read : null;
}

/** No model has more layers. */
const MOST_NUMBERS = 10_000;

/** `KEY=NUMBER`, or an object of a config file. The key may hold equals signs. */
function readNumbers(
  label: string,
  raw: unknown,
  problems: string[],
): Readonly<Record<string, number>> | null {
  const before = problems.length;
  const pairs = [raw].flat().flatMap((item): [string, unknown][] => {
    if (typeof item === "object" && item !== null) return Object.entries(item);
    const [, key, number] = /^(.+)=([^=]+)$/s.exec(String(item)) ?? [];
    const value = numberOf(number);
    return key === undefined || Number.isNaN(value) ? [["", item]] : [[key, value]];
  });
  for (const [key, number] of pairs) {
    if (key !== "" && Number.isFinite(number)) continue;
    problems.push(`${label} has ${quotedValue(key === "" ? number : key)}, expected KEY=NUMBER`);
  }
  refuseTwice(label, pairs, problems);
  return problems.length > before ? null : Object.fromEntries(pairs as [string, number][]);
}

/** A raw value as its flag has it; null, with a problem, when it cannot be that. @mutates problems */
export function readValue(
  flag: Flag,
  label: string,
  raw: unknown,
  problems: string[],
): FlagValues[string] | null {
  switch (flag.kind) {
    case "switch":
      if (typeof raw === "boolean") return raw;
      problems.push(`${label} is ${quotedValue(raw)}, expected true or false`);
      return null;
    case "integer":
    case "number":
      return readNumber(flag, label, raw, problems);
    case "integers":
      return readIntegers(flag, label, raw, problems);
    case "numbers":
      return readNumbers(label, raw, problems);
    case "text":
      return readText(flag, label, raw, problems);
    case "pairs":
      return readPairs(label, raw, problems);
    case "values":
      return [raw].flat().map((item) => typeof item === "string" ? item : JSON.stringify(item));
    case "texts": {
      // Choices and names hold no commas, so that several may be joined by them.
      const split = (item: unknown): unknown[] =>
        typeof item === "string" && (flag.choices || (flag.names && !isPattern(item)))
          ? item.split(",")
          : [item];
      const items = (Array.isArray(raw) ? raw : [raw]).flatMap(split);
      const texts = items.map((item) => readText(flag, label, item, problems));
      return texts.every((text) => text !== null) ? texts : null;
    }
  }
}
