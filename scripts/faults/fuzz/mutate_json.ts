// SPDX-License-Identifier: Apache-2.0
/** Changes of JSON texts that know what JSON is: types, sizes, depth, keys left out, renamed and written twice. */
import { nextIntegerBelow, type RandomStream } from "../../../lib/core/rng.ts";

/** A text's value with its keys in order, so that one may stand twice; a leaf is its text. */
type Tree = { readonly entries: [string, Tree][] } | { readonly items: Tree[] } | { readonly text: string };

/** One of several. */
export function pick<T>(random: RandomStream, all: readonly T[]): T {
  return all[nextIntegerBelow(random, all.length)] as T;
}

const deep = (open: string, close: string, depth: number) => open.repeat(depth) + close.repeat(depth);

/** Leaves that code seldom thinks of. */
const ODD: readonly string[] = [
  ...["null", "true", "false", "0", "-1", "1", "2", "0.5", "-0", "1e308", "1e400", "-1e400", "5e-324"],
  ...["2147483647", "2147483648", "4294967295", "4294967296", "9007199254740991", "9007199254740993"],
  ...["1000000000000", "1e15", "18446744073709551615", "1e21", "3", "7", "100000", "1000000000"],
  ...['""', '"x"', '"0"', '"__proto__"', '"constructor"', '"\\u0000"', '"\\ud800"', '"\\u202e"', '"../x"'],
  ...[
    '"NaN"',
    '"\\u001b[31m"',
    '"(a+)+$"',
    '"(?=.*)*"',
    '"\\\\"',
    '"[[:alpha:]"',
    '"' + "a".repeat(5000) + '"',
  ],
  ...["[]", "{}", "[[]]", "[null]", "[0,0,0]", '{"":{}}', '{"a":1,"a":2}', '{"__proto__":{"x":1}}'],
  ...["NaN", "Infinity", "01", "+1", "'x'", "[1,]", "undefined", ""],
  ...[deep("[", "]", 2000), deep('{"a":', "}", 900).replace("}", "0}"), deep("[", "]", 100_000)],
  `[${"0,".repeat(20_000)}0]`,
  `{${Array.from({ length: 5000 }, (_, i) => `"k${i}":${i}`).join(",")}}`,
];

const KEYS: readonly string[] = ["__proto__", "constructor", "toString", "", "\u0000", "length", "type", "x"];

function treeOf(value: unknown): Tree {
  if (Array.isArray(value)) return { items: value.map(treeOf) };
  if (typeof value === "object" && value !== null) {
    return { entries: Object.entries(value).map(([key, inner]) => [key, treeOf(inner)]) };
  }
  return { text: JSON.stringify(value) };
}

function textOf(tree: Tree): string {
  if ("text" in tree) return tree.text;
  if ("items" in tree) return `[${tree.items.map(textOf).join(",")}]`;
  return `{${tree.entries.map(([key, inner]) => `${JSON.stringify(key)}:${textOf(inner)}`).join(",")}}`;
}

/** Changes one place of a tree: goes down at random and stops at random, seldom far into long lists. @mutates tree */
function change(random: RandomStream, tree: Tree): Tree {
  const children = "entries" in tree ? tree.entries.length : "items" in tree ? tree.items.length : 0;
  if (children === 0 || nextIntegerBelow(random, 4) === 0) return changedHere(random, tree);
  const at = nextIntegerBelow(random, children);
  if ("entries" in tree) {
    const entry = tree.entries[at] as [string, Tree];
    entry[1] = change(random, entry[1]);
  } else if ("items" in tree) tree.items[at] = change(random, tree.items[at] as Tree);
  return tree;
}

/** @mutates tree */
function changedHere(random: RandomStream, tree: Tree): Tree {
  const choice = nextIntegerBelow(random, 10);
  if ("entries" in tree && tree.entries.length > 0 && choice < 7) {
    const at = nextIntegerBelow(random, tree.entries.length);
    const [key, value] = tree.entries[at] as [string, Tree];
    const other = (tree.entries[nextIntegerBelow(random, tree.entries.length)] as [string, Tree])[1];
    const odd: Tree = { text: pick(random, ODD) };
    if (choice === 0) tree.entries.splice(at, 1);
    else if (choice === 1) tree.entries.push([key, odd]);
    else if (choice === 2) tree.entries.push([pick(random, KEYS), odd]);
    else if (choice === 3) tree.entries[at] = [pick(random, KEYS), value];
    else if (choice === 4) tree.entries[at] = [key, other];
    else tree.entries[at] = [key, odd];
    return tree;
  }
  if ("items" in tree && tree.items.length > 0 && choice < 6) {
    const at = nextIntegerBelow(random, tree.items.length);
    if (choice === 0) tree.items.splice(at, 1);
    else if (choice === 1) tree.items.splice(at, 0, tree.items[at] as Tree);
    else if (choice === 2) tree.items.push(...tree.items.slice(0, 100));
    else tree.items[at] = { text: pick(random, ODD) };
    return tree;
  }
  if ("text" in tree && choice < 4 && /^-?\d/.test(tree.text)) {
    const number = Number(tree.text);
    return {
      text: String(pick(random, [number + 1, number - 1, -number, number * 2, number * 1e6, number / 3])),
    };
  }
  return { text: pick(random, ODD) };
}

/** A JSON text with up to three changes; now and then its bytes are changed too. */
export function mutatedJson(random: RandomStream, value: unknown): Uint8Array {
  let tree = treeOf(value);
  for (let changes = nextIntegerBelow(random, 3); changes >= 0; changes--) tree = change(random, tree);
  const bytes = new TextEncoder().encode(textOf(tree));
  return nextIntegerBelow(random, 8) === 0 ? mutatedBytes(random, bytes) : bytes;
}

/** Bytes with a few changes: flipped, set, cut out, doubled, cut off. */
export function mutatedBytes(random: RandomStream, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  let changed = new Uint8Array(bytes);
  for (let changes = nextIntegerBelow(random, 4); changes >= 0 && changed.length > 0; changes--) {
    const at = nextIntegerBelow(random, changed.length);
    const end = Math.min(changed.length, at + 1 + nextIntegerBelow(random, 16));
    switch (nextIntegerBelow(random, 6)) {
      case 0:
        changed[at] = (changed[at] as number) ^ (1 << nextIntegerBelow(random, 8));
        break;
      case 1:
        changed[at] = pick(random, [0, 0xff, 0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x2c, 0x0a, 0x80, 0xc0]);
        break;
      case 2:
        changed = joined(changed.subarray(0, at), changed.subarray(end));
        break;
      case 3:
        changed = joined(changed.subarray(0, end), changed.subarray(at));
        break;
      case 4:
        changed = changed.slice(0, at);
        break;
      default:
        for (let i = at; i < Math.min(end, at + 8); i++) changed[i] = nextIntegerBelow(random, 256);
    }
  }
  return changed;
}

/** Bytes one after the other. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
