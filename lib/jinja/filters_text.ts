// SPDX-License-Identifier: Apache-2.0
/** Filters over texts. */
import { JinjaError, typeError, unsupported } from "./errors.ts";
import { type Operation, operation } from "./environment.ts";
import { escapeHtml, escapeValue } from "./html.ts";
import { itemsOf, requireLength, truth, tryItems, unpack } from "./iterate.ts";
import { checkLength, spendCharacters } from "./meter.ts";
import { indexOf } from "./numbers.ts";
import { add, repeat } from "./operators.ts";
import { formatPercent } from "./percent_format.ts";
import { repr, str } from "./repr.ts";
import { replace, splitAt } from "./search.ts";
import { sliceOf } from "./slice.ts";
import { join, padText } from "./string_methods.ts";
import { stripTags } from "./strip_tags.ts";
import { SPACES, splitLines, strip } from "./text.ts";
import { capitalize } from "./unicode.ts";
import { isUndefined, undefinedError } from "./undefined.ts";
import { attributeGetter } from "./attribute_path.ts";
import { Dict, List, Markup, textOf, Tuple, typeName, type Value } from "./values.ts";

/** Applies a change of text to the str of a value; what was safe stays so. */
function mapped(value: Value, change: (text: string) => string): Value {
  const text = str(value);
  spendCharacters(text.length);
  return value instanceof Markup ? new Markup(change(text)) : change(text);
}

const WORD_STARTS = new RegExp(`([-${SPACES}({\\[<]+)`);

/** The filter `title`: unlike the method, words start only after white space, hyphens and opening brackets. */
function title(text: string): string {
  return text.split(WORD_STARTS).map((part) => {
    if (part === "") return "";
    const [first = ""] = part;
    return first.toUpperCase() + part.slice(first.length).toLowerCase();
  }).join("");
}

function integerArgument(value: Value | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  return indexOf(value, `'${typeName(value)}' object cannot be interpreted as an integer`);
}

function indent(value: Value, width: Value = 4, first: Value = false, blank: Value = false): Value {
  if (isUndefined(value)) throw undefinedError(value);
  if (textOf(value) === null) add(value, "\n"); // raises as Python does
  const by = textOf(width) ??
    repeat(" ", indexOf(width, `can't multiply sequence by non-int of type '${typeName(width)}'`));
  return mapped(value, (text) => {
    const lines = splitLines(`${text}\n`);
    checkLength(text.length + lines.length * (by.length + 1));
    const rest = lines.slice(1).map((line) => `\n${truth(blank) || line !== "" ? by : ""}${line}`);
    return (truth(first) ? by : "") + lines[0] + rest.join("");
  });
}

function truncate(
  value: Value,
  length: Value = 255,
  killWords: Value = false,
  end: Value = "...",
  leeway: Value = null,
): Value {
  const wrong = "truncate takes lengths that are integers";
  const [limit, extra] = [indexOf(length, wrong), leeway === null ? 5 : indexOf(leeway, wrong)];
  const endLength = requireLength(end);
  if (limit < endLength) {
    throw new JinjaError("AssertionError", `expected length >= ${endLength}, got ${limit}`);
  }
  if (extra < 0) throw new JinjaError("AssertionError", `expected leeway >= 0, got ${extra}`);
  if (requireLength(value) <= limit + extra) return value;
  const cut = sliceOf(value, { start: null, stop: limit - endLength, step: null });
  if (truth(killWords)) return add(cut, end);
  const text = textOf(cut);
  if (text === null) throw typeError(`'${typeName(cut)}' object has no attribute 'rsplit'`);
  const words = splitAt(text, " ", 1, true)[0] as string;
  return add(cut instanceof Markup ? new Markup(words) : words, end);
}

function format(value: Value, args: readonly Value[], keywords: ReadonlyMap<string, Value> | null): Value {
  if (args.length > 0 && keywords !== null && keywords.size > 0) {
    throw new JinjaError(
      "FilterArgumentError",
      "can't handle positional and keyword arguments at the same time",
    );
  }
  if (value instanceof Markup) {
    throw unsupported("the filter format of a text that was made safe is not supported");
  }
  if (keywords === null || keywords.size === 0) return formatPercent(str(value), new Tuple(args));
  const dict = new Dict();
  for (const [name, item] of keywords) dict.set(name, item);
  return formatPercent(str(value), dict);
}

function urlQuote(value: Value, query: boolean): string {
  const text = str(value);
  spendCharacters(text.length * 16);
  const quoted = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return query ? quoted.replaceAll("%20", "+") : quoted.replaceAll("%2F", "/");
}

function urlEncode(value: Value): Value {
  const pairs = textOf(value) !== null ? null : value instanceof Dict ? value.items() : tryItems(value);
  if (pairs === null) return urlQuote(value, false);
  return pairs.map((pair) => {
    const [key, item] = unpack(pair, 2) as [Value, Value];
    return `${urlQuote(key, true)}=${urlQuote(item, true)}`;
  }).join("&");
}

function xmlAttributes(value: Value, space: Value = true): Value {
  if (isUndefined(value)) throw undefinedError(value);
  if (!(value instanceof Dict)) {
    throw new JinjaError("AttributeError", `'${typeName(value)}' object has no attribute 'items'`);
  }
  const parts: string[] = [];
  for (const { items: [key, item] } of value.items()) {
    if (item === null || item === undefined || isUndefined(item)) continue;
    const name = textOf(key as Value);
    if (name === null) throw typeError("expected string or bytes-like object");
    if (/[ \t\n\r\f\v/>=]/.test(name)) {
      throw new JinjaError("ValueError", `Invalid character in attribute name: ${repr(name)}`);
    }
    parts.push(`${escapeValue(key as Value).text}="${escapeValue(item).text}"`);
  }
  return (truth(space) && parts.length > 0 ? " " : "") + parts.join(" ");
}

function joined(value: Value, separator: Value = "", attribute: Value = null): Value {
  const getter = attributeGetter(attribute);
  const items = itemsOf(value);
  return join(str(separator), new List(items.map((item) => str(getter(item)))));
}

function wordCount(value: Value): Value {
  const text = str(value);
  spendCharacters(text.length);
  return text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0;
}

export const TEXT_FILTERS: readonly [string, Operation][] = [
  operation("upper()", (value) => mapped(value, (text) => text.toUpperCase())),
  operation("lower()", (value) => mapped(value, (text) => text.toLowerCase())),
  operation("capitalize()", (value) => mapped(value, capitalize)),
  operation("title()", (value) => {
    const text = str(value);
    spendCharacters(text.length);
    return title(text);
  }),
  operation("trim(chars=)", (value, characters = null) => {
    const set = characters === null ? null : textOf(characters);
    if (characters !== null && set === null) throw typeError("strip arg must be None or str");
    return mapped(value, (text) => strip(text, set, "both"));
  }),
  operation(
    "replace(old, new, count=)",
    (value, old, fresh, count = null) =>
      replace(str(value), str(old as Value), str(fresh as Value), integerArgument(count ?? undefined, -1)),
  ),
  operation(
    "center(width=)",
    (value, width) => mapped(value, (text) => padText(text, integerArgument(width, 80), " ", "center")),
  ),
  operation("indent(width=, first=, blank=)", indent),
  operation("truncate(length=, killwords=, end=, leeway=)", truncate),
  ["format", format],
  operation("string()", (value) => value instanceof Markup ? value : str(value)),
  operation("safe()", (value) => value instanceof Markup ? value : new Markup(str(value))),
  operation("escape()", escapeValue),
  operation("e()", escapeValue),
  operation("forceescape()", (value) => new Markup(escapeHtml(str(value)))),
  operation("striptags()", (value) => stripTags(str(value))),
  operation("urlencode()", urlEncode),
  operation("xmlattr(autospace=)", xmlAttributes),
  operation("join(d=, attribute=)", joined),
  operation("wordcount()", wordCount),
];
