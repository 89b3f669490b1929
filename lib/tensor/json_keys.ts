// SPDX-License-Identifier: Apache-2.0
/** Keys of JSON objects as written, duplicates included: `JSON.parse` keeps only the last of equal keys. */

/** An object or array that is open while a text is scanned. */
interface OpenValue {
  /** Keys seen so far; null for an array. */
  readonly keys: Set<string> | null;
  /** Of the value itself in the object around it; null in an array, and outermost. */
  readonly key: string | null;
}

/**
 * Keys that an object of a JSON text has twice, one entry for each further time, as the keys that lead to it and itself.
 * Elements of an array have the path of the array.
 *
 * @param json Text that `JSON.parse` accepts
 */
export function duplicateKeys(json: string): string[][] {
  const found: string[][] = [];
  const open: OpenValue[] = [];
  let key = "";
  let expectsKey = false;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    const inner = open.at(-1);
    if (character === '"') {
      const end = stringEnd(json, at);
      if (expectsKey && inner?.keys) {
        key = JSON.parse(json.slice(at, end + 1)) as string;
        if (inner.keys.has(key)) found.push([...open.flatMap((value) => value.key ?? []), key]);
        inner.keys.add(key);
      }
      expectsKey = false;
      at = end;
    } else if (character === "{" || character === "[") {
      open.push({ keys: character === "{" ? new Set() : null, key: inner?.keys ? key : null });
      expectsKey = character === "{";
    } else if (character === "}" || character === "]") {
      open.pop();
    } else if (character === ",") {
      expectsKey = inner?.keys !== null;
    }
  }
  return found;
}

/** Index of the quote that closes the string opened at `start`. */
function stringEnd(json: string, start: number): number {
  for (let at = start + 1;; at++) {
    if (json[at] === "\\") at++;
    else if (json[at] === '"') return at;
  }
}
