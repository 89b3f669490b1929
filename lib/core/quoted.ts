// SPDX-License-Identifier: Apache-2.0
/** Names and values inside messages, short whatever they are. */

/** The first of some names, quoted, and how many more there are. */
export function quotedNames(names: readonly string[], most = 5): string {
  const more = names.length - most;
  return names.slice(0, most).map((name) => quotedValue(name)).join(", ") +
    (more > 0 ? ` and ${more} more` : "");
}

/** A JSON value in a message: cut when it is long; numbers that JSON has no word for as they are. */
export function quotedValue(value: unknown, most = 120): string {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  const text = JSON.stringify(value) ?? "undefined";
  return text.length <= most ? text : `${text.slice(0, most)}...`;
}
