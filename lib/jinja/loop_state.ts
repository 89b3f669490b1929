// SPDX-License-Identifier: Apache-2.0
/** The `loop` of a for loop: it looks one item ahead, and no further unless its length is asked for. */
import { equal } from "./compare.ts";
import { typeError } from "./errors.ts";
import { drain } from "./iterate.ts";
import { undefinedBecause } from "./undefined.ts";
import { Callable, type LoopState, Stream, Tuple, type Value } from "./values.ts";

/** Renders the body of a recursive loop over other items. */
export type Recursion = (items: Value, depth0: number) => Value;

/** A loop over items that are there, or over a stream of them. */
export class Loop implements LoopState {
  readonly kind = "loop";
  private index0 = -1;
  private before: Value | undefined;
  private current: Value | undefined;
  private items: readonly Value[] | null;
  /** The next item of a stream, when it was looked at. */
  private after: Value | undefined;
  private knownLength: number | null;
  private lastChanged: Tuple | null = null;

  constructor(
    source: readonly Value[] | Iterator<Value>,
    private readonly recursion: Recursion | null,
    private readonly depth0: number,
  ) {
    this.items = Array.isArray(source) ? source as readonly Value[] : null;
    this.iterator = this.items === null ? source as Iterator<Value> : null;
    this.knownLength = this.items?.length ?? null;
  }
  private iterator: Iterator<Value> | null;

  /** Goes on to the next item; undefined at the end. */
  next(): Value | undefined {
    const item = this.peek();
    if (item === undefined) return undefined;
    this.after = undefined;
    this.index0++;
    this.before = this.current;
    return this.current = item;
  }

  private peek(): Value | undefined {
    if (this.items !== null) return this.items[this.index0 + 1];
    if (this.after !== undefined) return this.after;
    const { done, value } = (this.iterator as Iterator<Value>).next();
    return this.after = done ? undefined : value;
  }

  get index(): number {
    return this.index0 + 1;
  }

  get length(): number {
    if (this.knownLength !== null) return this.knownLength;
    const rest = drain(new Stream("generator", this.iterator as Iterator<Value>));
    this.iterator = rest[Symbol.iterator]();
    return this.knownLength = rest.length + this.index + (this.after === undefined ? 0 : 1);
  }

  get(name: string): Value | undefined {
    switch (name) {
      case "index":
        return this.index;
      case "index0":
        return this.index0;
      case "first":
        return this.index0 === 0;
      case "last":
        return this.peek() === undefined;
      case "length":
        return this.length;
      case "revindex":
        return this.length - this.index0;
      case "revindex0":
        return this.length - this.index;
      case "previtem":
        return this.index0 === 0 ? undefinedBecause("there is no previous item") : this.before;
      case "nextitem": {
        const item = this.peek();
        return item === undefined ? undefinedBecause("there is no next item") : item;
      }
      case "depth":
        return this.depth0 + 1;
      case "depth0":
        return this.depth0;
      case "cycle":
        return new Callable("cycle", (args) => {
          if (args.length === 0) throw typeError("no items for cycling given");
          return args[this.index0 % args.length] as Value;
        }, "method");
      case "changed":
        return new Callable("changed", (args) => this.changed(new Tuple(args)), "method");
      default:
        return undefined;
    }
  }

  private changed(values: Tuple): boolean {
    if (this.lastChanged !== null && equal(this.lastChanged, values)) return false;
    this.lastChanged = values;
    return true;
  }

  recurse(items: Value): Value {
    if (this.recursion === null) {
      throw typeError("The loop must have the 'recursive' marker to be called recursively.");
    }
    return this.recursion(items, this.depth0 + 1);
  }
}
