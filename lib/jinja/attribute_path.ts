// SPDX-License-Identifier: Apache-2.0
/** The `attribute` argument of filters: `name`, `a.b.0`, or a number. */
import { getItem } from "./attributes.ts";
import { isUndefined } from "./undefined.ts";
import { CLASSES } from "./unicode.ts";
import { textOf, type Value } from "./values.ts";

export type Getter = (item: Value) => Value;

function partsOf(attribute: Value): readonly Value[] {
  if (attribute === null) return [];
  const text = textOf(attribute);
  if (text === null) return [attribute];
  return text.split(".").map((part) => CLASSES["isdigit"]?.(part) ? Number(part) : part);
}

/** A function that follows the path of an attribute; a step that finds nothing gives the default, when there is one. */
export function attributeGetter(attribute: Value, otherwise: Value = null): Getter {
  const parts = partsOf(attribute);
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = getItem(value, part);
      if (otherwise !== null && isUndefined(value)) value = otherwise;
    }
    return value;
  };
}

/** The same for several attributes with commas between them: what `sort` takes. */
export function attributeGetters(attribute: Value): (item: Value) => Value[] {
  const text = textOf(attribute);
  const getters = (text === null ? [attribute] : text.split(",")).map((one) => attributeGetter(one));
  return (item) => getters.map((getter) => getter(item));
}

/** Texts in lower case, for comparisons that ignore case; the rest as it is. */
export function ignoreCase(value: Value): Value {
  return textOf(value)?.toLowerCase() ?? value;
}
