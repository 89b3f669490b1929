// SPDX-License-Identifier: Apache-2.0
/** The tree of a regular expression of Python's `re`, as the parser makes it and the matcher walks it. */

/** What is wrong with a pattern: Python refuses it, or it uses what is not supported here. */
export class RegexError extends Error {
  override readonly name = "RegexError";

  /** @param at Place in the pattern, from 0; null when it is the whole one */
  constructor(message: string, at: number | null = null) {
    super(at === null ? message : `${message} at position ${at}`);
  }
}

/** A place between characters. */
export type Anchor =
  | "start" // \A, or ^ outside (?m)
  | "lineStart"
  | "end" // \Z
  | "lastLineEnd" // $ outside (?m): the end, or before a newline there
  | "lineEnd"
  | "boundary"
  | "inside"; // \B

/** One part of a pattern. `id` tells nodes apart. */
export type RegexNode =
  | { readonly kind: "text"; readonly id: number; readonly text: string }
  | { readonly kind: "set"; readonly id: number; readonly has: (code: number) => boolean }
  | { readonly kind: "anchor"; readonly id: number; readonly anchor: Anchor }
  | { readonly kind: "sequence"; readonly id: number; readonly items: readonly RegexNode[] }
  | { readonly kind: "choice"; readonly id: number; readonly options: readonly RegexNode[] }
  | {
    readonly kind: "repeat";
    readonly id: number;
    readonly item: RegexNode;
    readonly min: number;
    readonly max: number;
    readonly mode: "greedy" | "lazy" | "possessive";
  }
  | {
    readonly kind: "look";
    readonly id: number;
    readonly item: RegexNode;
    readonly negative: boolean;
    /** Characters before the place where the item begins; null for a look ahead. */
    readonly behind: number | null;
  }
  /** Only the first way to match the item counts. */
  | { readonly kind: "atomic"; readonly id: number; readonly item: RegexNode }
  | { readonly kind: "group"; readonly id: number; readonly item: RegexNode; readonly name: string | null };

/** Fewest and most characters that a node matches. */
export function widthOf(node: RegexNode): readonly [min: number, max: number] {
  switch (node.kind) {
    case "text":
      return [node.text.length, node.text.length];
    case "set":
      return [1, 1];
    case "anchor":
    case "look":
      return [0, 0];
    case "sequence":
      return node.items.map(widthOf).reduce(([a, b], [min, max]) => [a + min, b + max], [0, 0]);
    case "choice": {
      const widths = node.options.map(widthOf);
      return [Math.min(...widths.map(([min]) => min)), Math.max(...widths.map(([, max]) => max))];
    }
    case "repeat": {
      const [min, max] = widthOf(node.item);
      return [min * node.min, max === 0 || node.max === 0 ? 0 : max * node.max];
    }
    case "atomic":
    case "group":
      return widthOf(node.item);
  }
}
