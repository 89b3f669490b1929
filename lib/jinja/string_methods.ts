// SPDX-License-Identifier: Apache-2.0
/** The methods of str that a template may call. */
import { typeError, valueError } from "./errors.ts";
import { bind, signature } from "./arguments.ts";
import { itemsOf } from "./iterate.ts";
import { checkLength, spendCharacters, spendText } from "./meter.ts";
import { indexOf } from "./numbers.ts";
import { count, find, partOf, replace, splitAt, splitSpace, splitSpaceFromRight } from "./search.ts";
import { codePointLength, codePoints, splitLines, strip } from "./text.ts";
import { translate } from "./translate.ts";
import { capitalize, caseFold, CLASSES, swapCase, titleCase } from "./unicode.ts";
import { isUndefined, undefinedError } from "./undefined.ts";
import { type Keywords, List, textOf, Tuple, typeName, type Value } from "./values.ts";

export type StringMethod = (text: string, args: readonly Value[], keywords: Keywords) => Value;
type Body = (text: string, ...values: (Value | undefined)[]) => Value;

function method(declaration: string, body: Body): [string, StringMethod] {
  const declared = signature(declaration);
  if (declared.parameters.length === 0) {
    return [declared.name, (text, args, keywords) => {
      if (args.length > 0 || keywords !== null) bind(declared, args, keywords);
      spendCharacters(text.length);
      return body(text);
    }];
  }
  return [declared.name, (text, args, keywords) => body(text, ...bind(declared, args, keywords))];
}

const strings = (texts: readonly string[]) => new List(texts);

const METHODS: readonly [string, StringMethod][] = [
  ...(["both", "left", "right"] as const).map((sides) => {
    const name = { both: "strip", left: "lstrip", right: "rstrip" }[sides];
    return method(`${name}(/chars=)`, (text, chars) => {
      spendCharacters(text.length);
      return strip(text, optionalText(chars, `${name} arg must be None or str`), sides);
    });
  }),
  method("upper()", (text) => text.toUpperCase()),
  method("lower()", (text) => text.toLowerCase()),
  method("capitalize()", capitalize),
  method("title()", titleCase),
  method("swapcase()", swapCase),
  method("casefold()", caseFold),
  ...Object.entries(CLASSES).map(([name, test]) =>
    method(`${name}()`, (text) => text === "" ? name === "isascii" || name === "isprintable" : test(text))
  ),
  method("split(sep=, maxsplit=)", (text, separator, limit) => strings(split(text, separator, limit, false))),
  method("rsplit(sep=, maxsplit=)", (text, separator, limit) => strings(split(text, separator, limit, true))),
  method("splitlines(keepends=)", (text, keep) => strings(splitLines(text, integerOr(keep, 0) !== 0))),
  method("join(/iterable)", (text, items) => join(text, items as Value)),
  method("replace(/old, /new, /count=)", (text, old, fresh, limit) =>
    replace(
      text,
      requiredText(old, "replace() argument 1 must be str, not"),
      requiredText(fresh, "replace() argument 2 must be str, not"),
      integerOr(limit, -1),
    )),
  method("find(/sub, /start=, /end=)", (text, sub, start, end) => locate(text, sub, start, end, "find")),
  method("rfind(/sub, /start=, /end=)", (text, sub, start, end) => locate(text, sub, start, end, "rfind")),
  method("index(/sub, /start=, /end=)", (text, sub, start, end) => locate(text, sub, start, end, "index")),
  method("rindex(/sub, /start=, /end=)", (text, sub, start, end) => locate(text, sub, start, end, "rindex")),
  method(
    "count(/sub, /start=, /end=)",
    (text, sub, start, end) =>
      count(text, requiredText(sub, "must be str, not"), partOf(text, bound(start), bound(end))),
  ),
  method(
    "startswith(/prefix, /start=, /end=)",
    (text, prefix, start, end) => affix("startswith", text, prefix as Value, start, end),
  ),
  method(
    "endswith(/suffix, /start=, /end=)",
    (text, suffix, start, end) => affix("endswith", text, suffix as Value, start, end),
  ),
  method("removeprefix(/prefix)", (text, prefix) => {
    const start = requiredText(prefix, "removeprefix() argument must be str, not");
    return text.startsWith(start) ? text.slice(start.length) : text;
  }),
  method("removesuffix(/suffix)", (text, suffix) => {
    const end = requiredText(suffix, "removesuffix() argument must be str, not");
    return end !== "" && text.endsWith(end) ? text.slice(0, -end.length) : text;
  }),
  method("partition(/sep)", (text, separator) => partition(text, separator, false)),
  method("rpartition(/sep)", (text, separator) => partition(text, separator, true)),
  method("center(/width, /fillchar=)", (text, width, fill) => pad(text, width, fill, "center")),
  method("ljust(/width, /fillchar=)", (text, width, fill) => pad(text, width, fill, "left")),
  method("rjust(/width, /fillchar=)", (text, width, fill) => pad(text, width, fill, "right")),
  method("zfill(/width)", zfill),
  method("expandtabs(tabsize=)", (text, size) => expandTabs(text, integerOr(size, 8))),
  method("translate(/table)", (text, table) => translate(text, table as Value)),
];

/** Methods by name. Those that need more than texts (format, maketrans) are in attributes.ts. */
export const STRING_METHODS: ReadonlyMap<string, StringMethod> = new Map(METHODS);

function requiredText(value: Value | undefined, message: string): string {
  const text = value === undefined ? null : textOf(value);
  if (text === null) throw typeError(`${message} ${typeName(value as Value)}`);
  return text;
}

function optionalText(value: Value | undefined, message: string): string | null {
  if (value === undefined || value === null) return null;
  const text = textOf(value);
  if (text === null) throw typeError(message);
  return text;
}

function integerOr(value: Value | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  return indexOf(value, `'${typeName(value)}' object cannot be interpreted as an integer`);
}

function bound(value: Value | undefined): number | null {
  if (value === undefined || value === null) return null;
  return indexOf(value, "slice indices must be integers or None or have an __index__ method");
}

function split(
  text: string,
  separator: Value | undefined,
  limit: Value | undefined,
  right: boolean,
): string[] {
  const times = integerOr(limit, -1);
  if (separator === undefined || separator === null) {
    return right ? splitSpaceFromRight(text, times) : splitSpace(text, times);
  }
  return splitAt(text, requiredText(separator, "must be str or None, not"), times, right);
}

/** text.join(items). */
export function join(text: string, items: Value): string {
  let [result, first] = ["", true];
  if (typeof items === "object" && items?.kind === "undefined") return "";
  const list = typeof items === "object" || typeof items === "string" ? tryJoinable(items) : null;
  if (list === null) throw typeError("can only join an iterable");
  list.forEach((item, i) => {
    const part = textOf(item);
    if (part === null) throw typeError(`sequence item ${i}: expected str instance, ${typeName(item)} found`);
    result += first ? part : text + part;
    first = false;
    checkLength(result.length);
  });
  return result;
}

function tryJoinable(items: Value): readonly Value[] | null {
  return items === null ? null : itemsOf(items);
}

function locate(
  text: string,
  sub: Value | undefined,
  start: Value | undefined,
  end: Value | undefined,
  name: "find" | "rfind" | "index" | "rindex",
): number {
  const needle = requiredText(sub, "must be str, not");
  const found = find(text, needle, partOf(text, bound(start), bound(end)), name.startsWith("r"));
  if (found < 0 && name.endsWith("index")) throw valueError("substring not found");
  return found;
}

function affix(
  name: "startswith" | "endswith",
  text: string,
  affixes: Value,
  start: Value | undefined,
  end: Value | undefined,
): boolean {
  const part = partOf(text, bound(start), bound(end));
  const within = part === null ? null : text.slice(part.from, part.to);
  const test = (candidate: string) => {
    spendText(candidate);
    return within !== null &&
      (name === "startswith" ? within.startsWith(candidate) : within.endsWith(candidate));
  };
  if (affixes instanceof Tuple) {
    return affixes.items.some((item) =>
      test(requiredText(item, `tuple for ${name} must only contain str, not`))
    );
  }
  if (isUndefined(affixes) && affixes.error !== "UndefinedError") throw undefinedError(affixes);
  return test(requiredText(affixes, `${name} first arg must be str or a tuple of str, not`));
}

function partition(text: string, value: Value | undefined, last: boolean): Tuple {
  const separator = requiredText(value, "must be str, not");
  if (separator === "") throw valueError("empty separator");
  spendCharacters(text.length);
  const at = last ? text.lastIndexOf(separator) : text.indexOf(separator);
  if (at < 0) return new Tuple(last ? ["", "", text] : [text, "", ""]);
  return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
}

function pad(
  text: string,
  width: Value | undefined,
  fill: Value | undefined,
  place: "center" | "left" | "right",
): string {
  const total = integerOr(width as Value, 0);
  const character = fill === undefined
    ? " "
    : requiredText(fill, "The fill character must be a unicode character, not");
  if (codePoints(character).length !== 1) {
    throw typeError("The fill character must be exactly one character long");
  }
  return padText(text, total, character, place);
}

/** text.center(), ljust() or rjust(). */
export function padText(
  text: string,
  width: number,
  fill: string,
  place: "center" | "left" | "right",
): string {
  const missing = width - codePointLength(text);
  if (missing <= 0) return text;
  checkLength(text.length + missing * fill.length);
  const before = place === "left" ? 0 : place === "right" ? missing : (missing >> 1) + (missing & width & 1);
  return fill.repeat(before) + text + fill.repeat(missing - before);
}

function zfill(text: string, width: Value | undefined): string {
  const missing = integerOr(width as Value, 0) - codePointLength(text);
  if (missing <= 0) return text;
  checkLength(text.length + missing);
  const sign = text.startsWith("-") || text.startsWith("+") ? 1 : 0;
  return text.slice(0, sign) + "0".repeat(missing) + text.slice(sign);
}

function expandTabs(text: string, size: number): string {
  let [result, column] = ["", 0];
  for (const point of codePoints(text)) {
    if (point === "\t") {
      const spaces = size > 0 ? size - (column % size) : 0;
      checkLength(result.length + spaces);
      result += " ".repeat(spaces);
      column += spaces;
    } else {
      result += point;
      column = point === "\n" || point === "\r" ? 0 : column + 1;
    }
  }
  return result;
}
