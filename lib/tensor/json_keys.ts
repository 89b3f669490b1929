// SPDX-License-Identifier: Apache-2.0
/** Keys of a JSON object as written, duplicates included: `JSON.parse` keeps only the last of equal keys. */

/**
 * The keys of the outermost object of a JSON text, in order.
 *
 * @param json Text that `JSON.parse` accepts as an object
 */
export function topLevelKeys(json: string): string[] {
  const keys: string[] = [];
  let depth = 0;
  let expectsKey = false;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === '"') {
      const end = stringEnd(json, at);
      if (depth === 1 && expectsKey) keys.push(JSON.parse(json.slice(at, end + 1)) as string);
      expectsKey = false;
      at = end;
    } else if (character === "{" || character === "[") {
      depth++;
      expectsKey = character === "{";
    } else if (character === "}" || character === "]") {
      depth--;
    } else if (character === ",") {
      // Inside an array of depth 2 and more this is not a key's place, but there `depth` is not 1 either.
      expectsKey = true;
    }
  }
  return keys;
}

/** Index of the quote that closes the string opened at `start`. */
function stringEnd(json: string, start: number): number {
  for (let at = start + 1;; at++) {
    if (json[at] === "\\") at++;
    else if (json[at] === '"') return at;
  }
}
