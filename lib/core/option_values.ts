// SPDX-License-Identifier: Apache-2.0
/** Values that people write, on command lines and in config files, read as the kind that their option is of. */
import { isJsonObject, type Json, type JsonObject } from "./json.ts";
import type { OptionKind, OptionSpec } from "./options.ts";
import { quotedValue } from "./quoted.ts";
import { nearestName } from "./suggestion.ts";

/** A value as it was written, read. */
export type ReadValue =
  | string
  | readonly string[]
  | number
  | readonly number[]
  | Readonly<Record<string, readonly number[]>>
  | boolean
  | JsonObject;

/** Kinds of options that take several values, and may be given several times. */
export const SEVERAL: ReadonlySet<OptionKind> = new Set([
  "texts",
  "integers",
  "indices",
  "numbers",
  "values",
  "pairs",
]);

/** A number, also as decimal text; NaN for anything else. */
function numberOf(raw: unknown): number {
  if (typeof raw === "number") return raw;
  const isDecimal = typeof raw === "string" && /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(raw);
  return isDecimal ? Number(raw) : NaN;
}

function readNumber(option: OptionSpec, label: string, raw: unknown, problems: string[]): number | null {
  const value = numberOf(raw);
  const what = option.kind === "integer" ? "a whole number" : "a number";
  const { min = -Infinity, max = Infinity, below } = option;
  const above = Boolean(option.above) && option.nullAs !== min; // the number that says null is meant
  const inRange = (above ? value > min : value >= min) && (below ? value < max : value <= max);
  if (!Number.isFinite(value) || (option.kind === "integer" && !Number.isSafeInteger(value)) || !inRange) {
    const low = min === -Infinity ? "" : ` ${above ? "above" : "from"} ${min}`;
    const high = max === Infinity ? "" : below ? ` to below ${max}` : ` up to ${max}`;
    problems.push(`${label} is ${quotedValue(raw)}, expected ${what}${low}${high}`);
    return null;
  }
  return value;
}

/** A text that the option allows; null, with a problem, when it is none. @mutates problems */
export function readText(option: OptionSpec, label: string, raw: unknown, problems: string[]): string | null {
  if (typeof raw !== "string" || raw === "") {
    problems.push(`${label} is ${quotedValue(raw)}, expected text`);
    return null;
  }
  if (option.choices && !option.choices.includes(raw)) {
    const hint = nearestName(raw, option.choices);
    const guess = hint === null ? "" : `; did you mean ${hint}?`;
    problems.push(`${label} is ${quotedValue(raw)}, expected one of ${option.choices.join(", ")}${guess}`);
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
function readIntegers(option: OptionSpec, label: string, raw: unknown, problems: string[]): number[] | null {
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
  const read = numbers.map((item) => readNumber({ ...option, kind: "integer" }, label, item, problems));
  return read.every((number) => number !== null) ? read : null;
}

/** No model has more layers, and nobody tells more tokens by number. */
const MOST_NUMBERS = 10_000;

/** `5,8-10`, `KEY=5,8-10`, or an object of a config file. What has no key goes on with that before it. */
function readIndices(
  option: OptionSpec,
  label: string,
  raw: unknown,
  problems: string[],
): readonly number[] | Readonly<Record<string, readonly number[]>> | null {
  const byKey = new Map<string, unknown[]>();
  const add = (key: string, value: unknown): void => {
    byKey.set(key, [...byKey.get(key) ?? [], ...[value].flat()]);
  };
  let key = "";
  for (const item of [raw].flat().flatMap((item) => typeof item === "string" ? item.split(",") : [item])) {
    if (isJsonObject(item as Json)) {
      Object.entries(item as JsonObject).forEach(([name, own]) => add(name, own));
    } else {
      const [, name, own] = /^([^=]+)=(.*)$/s.exec(String(item)) ?? [];
      key = name ?? key;
      add(key, own ?? item);
    }
  }
  const read = [...byKey].map(([name, items]) =>
    [name, readIntegers(option, name === "" ? label : `${label} of ${name}`, items, problems)] as const
  );
  if (read.some(([, numbers]) => numbers === null)) return null;
  if (byKey.has("") && byKey.size > 1) {
    problems.push(`${label} has numbers with and without a name: give each a name, KEY=NUMBER, or none`);
    return null;
  }
  return byKey.has("") ? read[0]?.[1] ?? [] : Object.fromEntries(read as [string, number[]][]);
}

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

/** A raw value as its option has it; null, with a problem, when it cannot be that. @mutates problems */
export function readValue(
  option: OptionSpec,
  label: string,
  raw: unknown,
  problems: string[],
): ReadValue | null {
  switch (option.kind) {
    case "switch":
      if (typeof raw === "boolean") return raw;
      if (typeof raw === "string" && option.choices?.includes(raw)) return raw === "true";
      problems.push(`${label} is ${quotedValue(raw)}, expected true or false`);
      return null;
    case "integer":
    case "number":
      return readNumber(option, label, raw, problems);
    case "integers":
      return readIntegers(option, label, raw, problems);
    case "indices":
      return readIndices(option, label, raw, problems);
    case "numbers":
      return readNumbers(label, raw, problems);
    case "text":
      return readText(option, label, raw, problems);
    case "pairs":
      return readPairs(label, raw, problems);
    case "values":
      return [raw].flat().map((item) => typeof item === "string" ? item : JSON.stringify(item));
    case "texts": {
      // Choices and names hold no commas, so that several may be joined by them.
      const split = (item: unknown): unknown[] =>
        typeof item === "string" && (option.choices || (option.names && !isPattern(item)))
          ? item.split(",")
          : [item];
      const items = (Array.isArray(raw) ? raw : [raw]).flatMap(split);
      const texts = items.map((item) => readText(option, label, item, problems));
      return texts.every((text) => text !== null) ? texts : null;
    }
  }
}
