// SPDX-License-Identifier: Apache-2.0
/**
 * Matches short texts against a parsed pattern without going back: for every node and place, the places where a match of it
 * can end, in the order in which Python would try them, are found once. So the work grows with the lengths of pattern and
 * text, however the pattern repeats itself; and what is left over is bounded by a budget.
 */
import { isWord } from "./character_sets.ts";
import { type Anchor, RegexError, type RegexNode } from "./nodes.ts";

/** A place in the text, with what the watched group has captured: one number, so that places can be compared. */
type State = number;

/** What one match needs. */
interface Search {
  readonly text: string;
  /** Name of the group whose text is wanted; null for none. */
  readonly watched: string | null;
  readonly known: Map<number, readonly State[]>[];
  readonly budget: Budget;
}

/** Steps that a pattern may still take. */
export interface Budget {
  left: number;
}

/** A match from the start of the text. */
export interface RegexMatch {
  /** Of the watched group; null when it took no part. */
  readonly captured: string | null;
}

/**
 * The first match that begins at the text's start, or null.
 *
 * @param whole Whether it must reach the text's end     @mutates budget
 * @throws {RegexError} When the budget is used up
 */
export function matchStart(
  node: RegexNode,
  text: string,
  { whole, watched, budget }: {
    readonly whole: boolean;
    readonly watched: string | null;
    readonly budget: Budget;
  },
): RegexMatch | null {
  const search: Search = { text, watched, known: [], budget };
  const found = endsOf(search, node, 0).find((state) => !whole || placeOf(search, state) === text.length);
  if (found === undefined) return null;
  const span = Math.floor(found / (text.length + 1)) - 1;
  if (span < 0) return { captured: null };
  return { captured: text.slice(Math.floor(span / (text.length + 1)), span % (text.length + 1)) };
}

function placeOf({ text }: Search, state: State): number {
  return state % (text.length + 1);
}

/** The state once the watched group has matched from one state to another. */
function capturing(search: Search, from: State, to: State): State {
  const width = search.text.length + 1;
  return placeOf(search, to) + width * (1 + placeOf(search, from) * width + placeOf(search, to));
}

/** @mutates budget */
function spend({ budget }: Search, steps: number): void {
  budget.left -= steps;
  if (budget.left < 0) throw new RegexError("the pattern takes too long to match: write it more simply");
}

/** States after each way to match the node, the first to try first; each once. */
function endsOf(search: Search, node: RegexNode, state: State): readonly State[] {
  spend(search, 1);
  const { text } = search;
  const place = placeOf(search, state);
  switch (node.kind) {
    case "text":
      return text.startsWith(node.text, place) ? [state + node.text.length] : [];
    case "set":
      return place < text.length && node.has(text.charCodeAt(place)) ? [state + 1] : [];
    case "anchor":
      return holds(node.anchor, text, place) ? [state] : [];
  }
  const known = search.known[node.id] ??= new Map();
  const before = known.get(state);
  if (before) return before;
  const ends = unknownEnds(search, node, state);
  known.set(state, ends);
  return ends;
}

type Compound = Exclude<RegexNode, { readonly kind: "text" | "set" | "anchor" }>;

function unknownEnds(search: Search, node: Compound, state: State): readonly State[] {
  switch (node.kind) {
    case "sequence":
      return node.items.reduce<readonly State[]>(
        (states, item) => distinct(search, states, (from) => endsOf(search, item, from)),
        [state],
      );
    case "choice":
      return distinct(search, node.options, (option) => endsOf(search, option, state));
    case "repeat":
      return node.mode === "possessive"
        ? possessiveEnd(search, node, state)
        : repeatEnds(search, node, state);
    case "look": {
      const place = placeOf(search, state);
      const from = node.behind === null ? state : place < node.behind ? null : state - node.behind;
      const ends = from === null ? [] : endsOf(search, node.item, from);
      const end = node.behind === null ? ends[0] : ends.find((end) => placeOf(search, end) === place);
      if (node.negative) return end === undefined ? [state] : [];
      return end === undefined ? [] : [end - placeOf(search, end) + place]; // with what it captured
    }
    case "atomic":
      return endsOf(search, node.item, state).slice(0, 1);
    case "group": {
      const ends = endsOf(search, node.item, state);
      if (node.name === null || node.name !== search.watched) return ends;
      return distinct(search, ends, (end) => [capturing(search, state, end)]);
    }
  }
}

/** All results in order, each once. */
function distinct<T>(
  search: Search,
  items: readonly T[],
  results: (item: T) => readonly State[],
): readonly State[] {
  const [only] = items;
  if (items.length === 1 && only !== undefined) return results(only);
  const all = new Set<State>();
  for (const item of items) {
    const states = results(item);
    spend(search, states.length);
    for (const state of states) all.add(state);
  }
  return [...all];
}

type Repeat = Extract<RegexNode, { readonly kind: "repeat" }>;

function repeatEnds(search: Search, { item, min, max, mode }: Repeat, start: State): readonly State[] {
  const { length } = search.text;
  // More rounds than characters repeat empty matches, which changes nothing.
  const least = Math.min(min, length + 1);
  const most = max > least + length ? Infinity : Math.max(max, least);
  const ends = new Set<State>();
  const visited = new Set<number>();
  const counts = (most === Infinity ? least : most) + 1;
  const visit = (state: State, count: number): void => {
    const key = state * counts + (most === Infinity ? Math.min(count, least) : count);
    spend(search, 1);
    if (visited.has(key)) return;
    visited.add(key);
    if (mode === "lazy" && count >= least) ends.add(state);
    if (count < most) {
      for (const end of endsOf(search, item, state)) {
        if (end !== state || count < least) visit(end, count + 1);
      }
    }
    if (mode !== "lazy" && count >= least) ends.add(state);
  };
  visit(start, 0);
  return [...ends];
}

/** Each round takes the first way there is, whatever comes of it. */
function possessiveEnd(search: Search, { item, min, max }: Repeat, start: State): readonly State[] {
  let state = start;
  for (let count = 0; count < max; count++) {
    const [end] = endsOf(search, item, state);
    if (end === undefined) return count < min ? [] : [state];
    if (end === state) break; // and so would be all later rounds
    state = end;
  }
  return [state];
}

function holds(anchor: Anchor, text: string, place: number): boolean {
  const word = (at: number): boolean => at >= 0 && at < text.length && isWord(text.charCodeAt(at));
  switch (anchor) {
    case "start":
      return place === 0;
    case "lineStart":
      return place === 0 || text[place - 1] === "\n";
    case "end":
      return place === text.length;
    case "lastLineEnd":
      return place === text.length || (place === text.length - 1 && text[place] === "\n");
    case "lineEnd":
      return place === text.length || text[place] === "\n";
    case "boundary":
      return word(place - 1) !== word(place);
    case "inside":
      return word(place - 1) === word(place) && text.length > 0;
  }
}
