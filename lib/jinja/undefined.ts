// SPDX-License-Identifier: Apache-2.0
/** Jinja2's Undefined: it prints nothing, is false and empty, and fails with its story when anything else is done to it. */
import { JinjaError } from "./errors.ts";
import { repr } from "./repr.ts";
import { typeName, Undefined, type Value } from "./values.ts";

export function isUndefined(value: Value): value is Undefined {
  return value !== null && typeof value === "object" && value.kind === "undefined";
}

/** A name of the template that nobody has given a value. */
export function undefinedName(name: string): Undefined {
  return new Undefined(null, undefined, name);
}

/** An attribute or item that is not there. */
export function missingItem(owner: Value, key: Value): Undefined {
  return new Undefined(null, owner, key);
}

/** An undefined value with something to say. */
export function undefinedBecause(hint: string, name: string | null = null): Undefined {
  return new Undefined(hint, undefined, name);
}

/** What the use of an undefined value raises. */
export function undefinedError(value: Undefined): JinjaError {
  return new JinjaError(value.error, story(value));
}

function story({ hint, owner, key }: Undefined): string {
  if (hint !== null) return hint;
  if (owner === undefined) return `${repr(key)} is undefined`;
  const name = owner === null ? "None" : `${moduleOf(owner)}${typeName(owner)} object`;
  return typeof key === "string"
    ? `'${name}' has no attribute ${repr(key)}`
    : `${name} has no element ${repr(key)}`;
}

/** Jinja2 writes the module of types that are not Python's own. */
function moduleOf(value: Value): string {
  if (value === null || typeof value !== "object") return "";
  switch (value.kind) {
    case "markup":
      return "markupsafe.";
    case "loop":
      return "jinja2.runtime.";
    case "namespace":
      return "transformers.utils.chat_template_utils.";
    case "thing":
      return "jinja2.";
    default:
      return "";
  }
}
