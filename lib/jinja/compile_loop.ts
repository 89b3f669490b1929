// SPDX-License-Identifier: Apache-2.0
/** For loops to closures. */
import { descendants, type Expression, type For } from "./ast.ts";
import { type Compiler, enterFrame, leaveFrame, type Place, reader, type Scope, slotOf } from "./compiler.ts";
import { itemsOf, iteratorOf, truth, unpack } from "./iterate.ts";
import { Loop, type Recursion } from "./loop_state.ts";
import { deeper, spend } from "./meter.ts";
import {
  BREAK,
  capture,
  CONTINUE,
  type Evaluate,
  type Execute,
  type Frame,
  NORMAL,
  type Signal,
} from "./runtime.ts";
import {
  analyzeBody,
  analyzeLoop,
  analyzeTarget,
  declareParameter,
  findUndeclared,
  newSymbols,
  type Symbols,
} from "./symbols.ts";
import { Tuple, type Value } from "./values.ts";

/** Compiles a loop; a recursive one is a function of its own, which `loop(…)` calls again. */
export function compileFor(compiler: Compiler, node: For, place: Place): Execute {
  const items = compiler.expression(node.items, place);
  if (!node.recursive) {
    const rounds = compileRounds(compiler, node, place, place.scope);
    return (frame) => rounds(frame, items(frame), null, 0);
  }
  const scope: Scope = { slots: new Map(), parent: place.scope };
  const rounds = compileRounds(compiler, node, { ...place, inLoop: false }, scope);
  return (frame) => {
    const recursion: Recursion = (inner, depth0) =>
      deeper(() => {
        const own: Frame = {
          slots: new Array(scope.slots.size),
          parent: frame,
          run: frame.run,
          context: frame.context,
        };
        return capture(own, () => rounds(own, inner, recursion, depth0)).text;
      });
    frame.run.out += recursion(items(frame), 0) as string;
    return NORMAL;
  };
}

type Rounds = (frame: Frame, items: Value, recursion: Recursion | null, depth0: number) => Signal;

function compileRounds(compiler: Compiler, node: For, outer: Place, scope: Scope): Rounds {
  const inner = { ...outer, scope, top: false, soft: false };
  const place: Place = { ...inner, symbols: newSymbols(outer.symbols), inLoop: true };
  const extended = usesLoop(node);
  const loopSlot = extended ? slotOf(scope, declareParameter(place.symbols, "loop")) : -1;
  analyzeLoop(place.symbols, node);
  const filter = node.test === null ? null : compileTest(compiler, node, node.test, inner);
  const enter = enterFrame(place);
  const leave = leaveFrame(place);
  const assign = compileTarget(node.target, place.symbols, scope);
  const body = compiler.body(node.body, place);
  const otherwise = node.otherwise.length === 0 ? null : compileElse(compiler, node, inner);

  return (frame, items, recursion, depth0) => {
    const source = filter === null ? sourceOf(items) : filter(frame, iteratorOf(items));
    const loop = extended ? new Loop(source, recursion, depth0) : null;
    if (loop !== null) frame.slots[loopSlot] = loop;
    const next = loop !== null ? () => loop.next() : nextOf(source);
    let completed = false; // a round that breaks or goes on early does not count for the else, as in Jinja2
    for (let item = next(); item !== undefined; item = next()) {
      spend(1);
      assign(frame, item);
      enter(frame);
      const signal = body(frame);
      if (signal === BREAK) break;
      if (signal !== CONTINUE) completed = true;
    }
    leave(frame);
    return completed || otherwise === null ? NORMAL : otherwise(frame);
  };
}

/** Whether the body says `loop`, or has a block that may. */
function usesLoop(node: For): boolean {
  if (node.recursive || findUndeclared(node.body, ["loop"]).size > 0) return true;
  for (const found of descendants([node])) if (found.type === "Block" && found.scoped) return true;
  return false;
}

function sourceOf(items: Value): readonly Value[] | Iterator<Value> {
  return typeof items === "object" && items?.kind === "stream" ? items.iterator : itemsOf(items);
}

function nextOf(source: readonly Value[] | Iterator<Value>): () => Value | undefined {
  if (Array.isArray(source)) {
    let i = 0;
    return () => source[i++];
  }
  return () => {
    const { done, value } = (source as Iterator<Value>).next();
    return done ? undefined : value;
  };
}

function compileElse(compiler: Compiler, node: For, outer: Place): Execute {
  const place: Place = { ...outer, symbols: newSymbols(outer.symbols) };
  analyzeBody(place.symbols, node.otherwise);
  const [enter, leave] = [enterFrame(place), leaveFrame(place)];
  const body = compiler.body(node.otherwise, place);
  return (frame) => {
    enter(frame);
    const signal = body(frame);
    if (signal === NORMAL) leave(frame);
    return signal;
  };
}

/** Sets the names of a loop's target. */
function compileTarget(
  target: Expression,
  symbols: Symbols,
  scope: Scope,
): (frame: Frame, value: Value) => void {
  if (target.type === "Name") {
    const slot = slotOf(scope, symbols.refs.get(target.name) as string);
    return (frame, value) => frame.slots[slot] = value;
  }
  const parts = target.type === "Tuple"
    ? target.items.map((item) => compileTarget(item, symbols, scope))
    : [];
  return (frame, value) => {
    const values = unpack(value, parts.length);
    for (let i = 0; i < parts.length; i++) parts[i]?.(frame, values[i] as Value);
  };
}

/** The `if` of a loop: a function of its own, as in Jinja2, that passes on what it says yes to, one by one. */
function compileTest(
  compiler: Compiler,
  node: For,
  test: Expression,
  outer: Place,
): (frame: Frame, items: Iterator<Value>) => Iterator<Value> {
  const scope: Scope = { slots: new Map(), parent: outer.scope };
  const place: Place = { ...outer, symbols: newSymbols(outer.symbols), scope, inLoop: false };
  analyzeTarget(place.symbols, node.target);
  analyzeBody(place.symbols, [test]);
  const enter = enterFrame(place);
  const assign = compileTarget(node.target, place.symbols, scope);
  const holds = compiler.expression(test, place);
  const value = rebuild(node.target, place);
  return function* (frame, items) {
    const own: Frame = {
      slots: new Array(scope.slots.size),
      parent: frame,
      run: frame.run,
      context: frame.context,
    };
    enter(own);
    for (const item of { [Symbol.iterator]: () => items }) {
      spend(1);
      assign(own, item);
      if (truth(holds(own))) yield value(own);
    }
  };
}

/** The value of a target: tuples are made anew. */
function rebuild(target: Expression, { symbols, scope }: Place): Evaluate {
  if (target.type === "Name") {
    const read = reader(scope, symbols.refs.get(target.name) as string);
    return (frame) => read(frame) as Value;
  }
  const parts = target.type === "Tuple"
    ? target.items.map((item) => rebuild(item, { symbols, scope } as Place))
    : [];
  return (frame) => new Tuple(parts.map((part) => part(frame)));
}
