// SPDX-License-Identifier: Apache-2.0
/** str.translate() and str.maketrans(). */
import { typeError, valueError } from "./errors.ts";
import { codePoints } from "./text.ts";
import { Dict, hashKey, List, textOf, Tuple, typeName, type Value } from "./values.ts";

/** Replaces each code point by what a table has for its number: a text, another number, or None for nothing. */
export function translate(text: string, table: Value): string {
  const points = codePoints(text);
  const sequence = table instanceof List || table instanceof Tuple ? table.items : null;
  const tableText = textOf(table);
  const items = sequence ?? (tableText === null ? null : codePoints(tableText));
  return points.map((point) => {
    const code = point.codePointAt(0) as number;
    if (items === null && !(table instanceof Dict)) {
      throw typeError(`'${typeName(table)}' object is not subscriptable`);
    }
    const fresh = table instanceof Dict ? table.get(code) : items?.[code];
    if (fresh === undefined) return point;
    if (fresh === null) return "";
    if (typeof fresh === "number" && fresh >= 0 && fresh <= 0x10ffff) return String.fromCodePoint(fresh);
    const replacement = textOf(fresh);
    if (replacement === null) throw typeError("character mapping must return integer, None or str");
    return replacement;
  }).join("");
}

/** str.maketrans(x[, y[, z]]). */
export function makeTable(args: readonly Value[]): Dict {
  const table = new Dict();
  const [first, second, third] = args;
  if (args.length === 1) {
    if (!(first instanceof Dict)) {
      throw typeError("if you give only one argument to maketrans it must be a dict");
    }
    for (const key of first.keys()) table.set(tableKey(key), first.get(hashKey(key)) as Value);
    return table;
  }
  const [from, to] = [textOf(first ?? null), textOf(second ?? null)];
  if (from === null || to === null || args.length > 3) {
    throw typeError("maketrans takes two or three texts, or one dict");
  }
  const [keys, values] = [codePoints(from), codePoints(to)];
  if (keys.length !== values.length) {
    throw valueError("the first two maketrans arguments must have equal length");
  }
  keys.forEach((key, i) =>
    table.set(key.codePointAt(0) as number, (values[i] as string).codePointAt(0) as number)
  );
  for (const point of codePoints(textOf(third ?? "") ?? "")) table.set(point.codePointAt(0) as number, null);
  return table;
}

function tableKey(key: Value): number {
  if (typeof key === "number") return key;
  const text = textOf(key);
  if (text === null) throw typeError("keys in translate table must be strings or integers");
  const points = codePoints(text);
  if (points.length !== 1) throw valueError("string keys in translate table must be of length 1");
  return (points[0] as string).codePointAt(0) as number;
}
