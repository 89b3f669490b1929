// SPDX-License-Identifier: Apache-2.0
/** What the compiler knows of the place it is at, shared by the files that compile expressions and statements. */
import type { Expression, Statement } from "./ast.ts";
import { JinjaError, unsupported } from "./errors.ts";
import type { Evaluate, Execute, Frame } from "./runtime.ts";
import { findLoad, findVariable, type Symbols } from "./symbols.ts";
import { undefinedName } from "./undefined.ts";
import type { Value } from "./values.ts";

/** Variables that live in one array while the template is rendered. */
export interface Scope {
  readonly slots: Map<string, number>;
  readonly parent: Scope | null;
}

/** A place in the template. */
export interface Place {
  readonly symbols: Symbols;
  readonly scope: Scope;
  /** Whether what is set here is exported: the top of the template, ifs included. */
  readonly top: boolean;
  /** Whether it is right within an if, where unknown filters fail only when they are reached. */
  readonly soft: boolean;
  /** Whether break and continue have a loop to leave. */
  readonly inLoop: boolean;
}

/** Compiles what is within; handed around because each of them needs the others. */
export interface Compiler {
  expression(node: Expression, place: Place): Evaluate;
  body(statements: readonly Statement[], place: Place): Execute;
  /** Blocks of the template by name. */
  readonly blocks: Map<string, Execute>;
}

/** The slot of a variable in a scope, made when it is new. */
export function slotOf(scope: Scope, variable: string): number {
  let slot = scope.slots.get(variable);
  if (slot === undefined) scope.slots.set(variable, slot = scope.slots.size);
  return slot;
}

/** Reads a variable of this scope or one around it; undefined while it has no value. */
export function reader(scope: Scope, variable: string): (frame: Frame) => Value | undefined {
  let hops = 0;
  for (let at: Scope | null = scope; at !== null; at = at.parent, hops++) {
    const slot = at.slots.get(variable);
    if (slot === undefined) continue;
    if (hops === 0) return (frame) => frame.slots[slot];
    if (hops === 1) return (frame) => (frame.parent as Frame).slots[slot];
    const depth = hops;
    return (frame) => {
      let owner = frame;
      for (let i = 0; i < depth; i++) owner = owner.parent as Frame;
      return owner.slots[slot];
    };
  }
  throw new Error(`the variable ${variable} has no slot`);
}

/** The variable of a name. @throws {JinjaError} Where Jinja2's own compiler does not know the name */
export function variableOf(place: Place, name: string, line: number): string {
  const variable = findVariable(place.symbols, name);
  if (variable !== null) return variable;
  throw new JinjaError(
    "TemplateAssertionError",
    `Tried to resolve a name to a reference that was unknown to the frame ('${name}')`,
    line,
  );
}

/** The value of a name. */
export function nameValue(place: Place, name: string, line: number): Evaluate {
  const variable = variableOf(place, name, line);
  const read = reader(place.scope, variable);
  if (findLoad(place.symbols, variable)?.from === "parameter") {
    return (frame) => {
      const value = read(frame);
      if (value === undefined) throw unsupported(`'${name}' is used after the loop that sets it has ended`);
      return value;
    };
  }
  return (frame) => {
    const value = read(frame);
    return value === undefined ? undefinedName(name) : value;
  };
}

/** Gives the variables of a frame what they start as. */
export function enterFrame({ symbols, scope }: Place): (frame: Frame) => void {
  const steps: ((frame: Frame) => void)[] = [];
  for (const [variable, load] of symbols.loads) {
    const slot = slotOf(scope, variable);
    if (load.from === "context") {
      const { name } = load;
      steps.push((frame) => frame.slots[slot] = frame.context.resolve(name));
    } else if (load.from === "variable") {
      const read = reader(scope, load.variable);
      steps.push((frame) => frame.slots[slot] = read(frame));
    } else if (load.from === "nothing") {
      steps.push((frame) => frame.slots[slot] = undefined);
    }
  }
  const [first, second] = steps;
  if (first === undefined) return () => {};
  if (second === undefined) return first;
  return (frame) => {
    for (const step of steps) step(frame);
  };
}

/** Takes the variables of a frame their values. */
export function leaveFrame({ symbols, scope }: Place): (frame: Frame) => void {
  const slots = [...symbols.loads.keys()].map((variable) => slotOf(scope, variable));
  return (frame) => {
    for (const slot of slots) frame.slots[slot] = undefined;
  };
}
