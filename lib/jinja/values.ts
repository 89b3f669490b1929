// SPDX-License-Identifier: Apache-2.0
/**
 * Python's values as templates see them.
 *
 * None is `null`, a bool is a boolean, a str is a string. An int is a `number` while it is safe and a `bigint` beyond; a
 * float is always boxed, so that 1.0 stays apart from 1. The rest are records told apart by `kind`.
 */
import { type JinjaErrorKind, typeError } from "./errors.ts";
import { spendText } from "./meter.ts";

export type Value = null | boolean | number | bigint | string | Boxed;
export type Boxed =
  | Float
  | Markup
  | List
  | Tuple
  | Dict
  | DictView
  | Range
  | Stream
  | Undefined
  | Callable
  | Namespace
  | LoopState
  | Thing;

/** A float. */
export class Float {
  readonly kind = "float";
  constructor(readonly value: number) {}
}

/** A string that the filters `safe` and `escape` give: it escapes what is joined to it. */
export class Markup {
  readonly kind = "markup";
  constructor(readonly text: string) {}
}

/** A list. Templates cannot change one. */
export class List {
  readonly kind = "list";
  constructor(readonly items: readonly Value[]) {}
}

/** A tuple; one with names for its fields is what `groupby` gives. */
export class Tuple {
  readonly kind = "tuple";
  constructor(readonly items: readonly Value[], readonly names: readonly string[] = []) {}
}

/** What a key is found by: equal keys (1, 1.0 and True) have the same. */
export type HashKey = null | string | number | bigint | object;

/** A dict, in the order of insertion. */
export class Dict {
  readonly kind = "dict";
  /** Keys whose hash key is not the key itself. */
  private originals: Map<HashKey, Value> | null = null;
  readonly entries = new Map<HashKey, Value>();

  get size(): number {
    return this.entries.size;
  }

  /** The value of a key, or undefined. Strings find themselves. */
  get(key: HashKey): Value | undefined {
    return this.entries.get(key);
  }

  /** Sets a value as Python does: an equal key that is there stays, in its place. */
  set(key: Value, value: Value): void {
    const hash = hashKey(key);
    if (hash !== key && !this.entries.has(hash)) (this.originals ??= new Map()).set(hash, key);
    this.entries.set(hash, value);
  }

  keyOf(hash: HashKey): Value {
    const original = this.originals?.get(hash);
    return original !== undefined ? original : hash as Value;
  }

  keys(): Value[] {
    const hashes = [...this.entries.keys()];
    return this.originals === null ? hashes as Value[] : hashes.map((hash) => this.keyOf(hash));
  }

  values(): Value[] {
    return [...this.entries.values()];
  }

  items(): Tuple[] {
    const items: Tuple[] = [];
    for (const [hash, value] of this.entries) items.push(new Tuple([this.keyOf(hash), value]));
    return items;
  }
}

/** What `keys()`, `values()` and `items()` of a dict give. */
export class DictView {
  readonly kind = "view";
  constructor(readonly of: "keys" | "values" | "items", readonly dict: Dict) {}

  list(): readonly Value[] {
    return this.dict[this.of]();
  }
}

/** A range of integers. */
export class Range {
  readonly kind = "range";
  readonly length: number;
  constructor(readonly start: number, readonly stop: number, readonly step: number) {
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }
}

/** Something that can be iterated over once: what `map`, `select`, `reverse` and others give. */
export class Stream {
  readonly kind = "stream";
  /** @param type Python's name of it: `generator`, `list_reverseiterator`, … */
  constructor(readonly type: string, readonly iterator: Iterator<Value>) {}
}

/** What a name or an attribute that is not there gives. */
export class Undefined {
  readonly kind = "undefined";
  /**
   * @param hint  What to say when it is used, or null: made from the rest
   * @param owner What lacks the attribute; JavaScript's undefined when it is a name of the template
   * @param error What its use raises
   */
  constructor(
    readonly hint: string | null,
    readonly owner: Value | undefined,
    readonly key: Value,
    readonly error: JinjaErrorKind = "UndefinedError",
  ) {}
}

/** Arguments of a call: positional ones, and those by keyword when there are any. */
export type Keywords = ReadonlyMap<string, Value> | null;

/** A function or a bound method. */
export class Callable {
  readonly kind = "callable";
  /** @param type Python's name of its type: `function`, `builtin_function_or_method`, … */
  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[], keywords: Keywords) => Value,
    readonly type = "builtin_function_or_method",
  ) {}
}

/** What `namespace()` makes: the one thing that a template can change. */
export class Namespace {
  readonly kind = "namespace";
  constructor(readonly attributes: Map<string, Value>) {}
}

/** The `loop` of a for loop. */
export interface LoopState {
  readonly kind: "loop";
  get(name: string): Value | undefined;
  readonly length: number;
  readonly index: number;
  recurse(items: Value): Value;
}

/** An object with attributes and perhaps a call: a macro, a cycler, a joiner, `self`. */
export class Thing {
  readonly kind = "thing";
  constructor(
    readonly type: string,
    readonly get: (name: string) => Value | undefined,
    readonly call: ((args: readonly Value[], keywords: Keywords) => Value) | null = null,
    readonly text: string | null = null,
  ) {}
}

/** Marks a tuple among hash keys; no text that people write starts so. */
const TUPLE_MARK = "\udfff\ud800(";

/** @throws {JinjaError} When the value cannot be a key */
export function hashKey(key: Value): HashKey {
  if (typeof key === "string") {
    spendText(key);
    return key;
  }
  if (key === null || typeof key === "number" || typeof key === "bigint") return key;
  if (typeof key === "boolean") return key ? 1 : 0;
  switch (key.kind) {
    case "float":
      return Number.isInteger(key.value) && !Number.isSafeInteger(key.value) ? BigInt(key.value) : key.value;
    case "markup":
      return key.text;
    case "tuple":
      return TUPLE_MARK + key.items.map((item) => tuplePart(hashKey(item))).join("");
    case "undefined":
      return Undefined;
    case "list":
    case "dict":
      throw typeError(`unhashable type: '${key.kind}'`);
    case "view":
      if (key.of !== "values") throw typeError(`unhashable type: 'dict_${key.of}'`);
      return key;
    case "range":
      return TUPLE_MARK + `range ${key.length} ${key.start} ${key.step}`;
    default:
      return key;
  }
}

/** Objects that are keys by identity within a tuple. */
const identities = new WeakMap<object, number>();
let identityCount = 0;

function tuplePart(hash: HashKey): string {
  if (typeof hash === "object" && hash !== null || typeof hash === "function") {
    let id = identities.get(hash);
    if (id === undefined) identities.set(hash, id = ++identityCount);
    return `o${id};`;
  }
  return typeof hash === "string" ? `s${hash.length}:${hash}` : `n${hash};`;
}

/** Python's name of a value's type. */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "number":
    case "bigint":
      return "int";
    case "string":
      return "str";
  }
  switch (value.kind) {
    case "markup":
      return "Markup";
    case "tuple":
      return value.names.length > 0 ? "_GroupTuple" : "tuple";
    case "view":
      return `dict_${value.of}`;
    case "stream":
    case "callable":
    case "thing":
      return value.type;
    case "undefined":
      return "Undefined";
    case "namespace":
      return "TemplateNamespace";
    case "loop":
      return "LoopContext";
    default:
      return value.kind;
  }
}

/** Brings an integer into its one form. */
export function integer(value: bigint): number | bigint {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

/** Whether a value is an int in Python's sense: a bool is one too. */
export function isInteger(value: Value): value is number | bigint | boolean {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
}

/** The text of a str, or null for what is none. */
export function textOf(value: Value): string | null {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null && value.kind === "markup" ? value.text : null;
}
