// SPDX-License-Identifier: Apache-2.0
/**
 * Which variable a name means where: Jinja2's scoping, found before anything is run.
 *
 * Every frame (template, loop body, macro, block, …) has its level, and each name that it reads or sets first gets a
 * variable `name@level` there. What the variable starts as is its load: a parameter; resolved from the context; a copy of
 * an outer frame's variable, so that a set within does not leak; or nothing. The rules are those of jinja2/idtracking.py.
 */
import { children, type Expression, type For, type Node, type Statement } from "./ast.ts";

/** What a variable starts as when its frame is entered. */
export type Load =
  | { readonly from: "parameter" }
  | { readonly from: "context"; readonly name: string }
  | { readonly from: "variable"; readonly variable: string }
  | { readonly from: "nothing" };

/** The names of one frame. */
export interface Symbols {
  readonly level: number;
  readonly parent: Symbols | null;
  /** Variable of each name that the frame reads or sets itself. */
  readonly refs: Map<string, string>;
  readonly loads: Map<string, Load>;
  readonly stores: Set<string>;
}

export function newSymbols(parent: Symbols | null): Symbols {
  return {
    level: parent === null ? 0 : parent.level + 1,
    parent,
    refs: new Map(),
    loads: new Map(),
    stores: new Set(),
  };
}

function copy(symbols: Symbols): Symbols {
  return {
    ...symbols,
    refs: new Map(symbols.refs),
    loads: new Map(symbols.loads),
    stores: new Set(symbols.stores),
  };
}

/** The variable of a name in a frame or those around it. */
export function findVariable(symbols: Symbols, name: string): string | null {
  for (let frame: Symbols | null = symbols; frame !== null; frame = frame.parent) {
    const variable = frame.refs.get(name);
    if (variable !== undefined) return variable;
  }
  return null;
}

/** How a variable of a frame or those around it starts. */
export function findLoad(symbols: Symbols, variable: string): Load | null {
  for (let frame: Symbols | null = symbols; frame !== null; frame = frame.parent) {
    const load = frame.loads.get(variable);
    if (load !== undefined) return load;
  }
  return null;
}

function define(symbols: Symbols, name: string, load: Load): string {
  const variable = `${name}@${symbols.level}`;
  symbols.refs.set(name, variable);
  symbols.loads.set(variable, load);
  return variable;
}

function store(symbols: Symbols, name: string): void {
  symbols.stores.add(name);
  if (symbols.refs.has(name)) return;
  const outer = symbols.parent === null ? null : findVariable(symbols.parent, name);
  define(symbols, name, outer === null ? { from: "nothing" } : { from: "variable", variable: outer });
}

/** Makes a name a parameter of the frame. */
export function declareParameter(symbols: Symbols, name: string): string {
  symbols.stores.add(name);
  return define(symbols, name, { from: "parameter" });
}

function load(symbols: Symbols, name: string): void {
  if (findVariable(symbols, name) === null) define(symbols, name, { from: "context", name });
}

/** Joins the branches of an if: what only some of them set starts as it was before. */
function joinBranches(symbols: Symbols, branches: readonly Symbols[]): void {
  const stores = new Set<string>();
  for (const branch of branches) for (const name of branch.stores) stores.add(name);
  for (const name of symbols.stores) stores.delete(name);
  for (const branch of branches) {
    for (const [name, variable] of branch.refs) symbols.refs.set(name, variable);
    for (const [variable, how] of branch.loads) symbols.loads.set(variable, how);
    for (const name of branch.stores) symbols.stores.add(name);
  }
  for (const name of stores) {
    const variable = findVariable(symbols, name) as string;
    const outer = symbols.parent === null ? null : findVariable(symbols.parent, name);
    symbols.loads.set(
      variable,
      outer === null ? { from: "context", name } : { from: "variable", variable: outer },
    );
  }
}

/** Finds the names of a frame whose body these statements are. */
export function analyzeBody(symbols: Symbols, body: readonly Node[]): void {
  for (const node of body) visit(symbols, node);
}

/** Makes the names of a loop's target parameters. */
export function analyzeTarget(symbols: Symbols, target: Expression): void {
  if (target.type === "Name") declareParameter(symbols, target.name);
  else for (const node of children(target)) analyzeTarget(symbols, node as Expression);
}

/** The frame of a loop's body. */
export function analyzeLoop(symbols: Symbols, loop: For): void {
  analyzeTarget(symbols, loop.target);
  analyzeBody(symbols, loop.body);
}

/** Statements within others that have a frame of their own are not entered: only what they read of this one. */
function visit(symbols: Symbols, node: Node): void {
  switch (node.type) {
    case "Name":
      if (node.use === "load") load(symbols, node.name);
      else if (node.use === "store") store(symbols, node.name);
      else declareParameter(symbols, node.name);
      return;
    case "NamespaceTarget":
      load(symbols, node.name);
      return;
    case "If":
      visitIf(symbols, node);
      return;
    case "Macro":
      store(symbols, node.name);
      return;
    case "OtherTemplate":
      visit(symbols, node.template);
      for (const name of node.targets) store(symbols, name);
      return;
    case "Assign":
      visit(symbols, node.node);
      visit(symbols, node.target);
      return;
    case "AssignBlock":
      visit(symbols, node.target);
      return;
    case "For":
      visit(symbols, node.items);
      return;
    case "CallBlock":
      if (node.call !== null) visit(symbols, node.call);
      return;
    case "FilterBlock":
      visit(symbols, node.filter);
      return;
    case "With":
      for (const value of node.values) visit(symbols, value);
      return;
    case "Scope":
    case "Block":
      return;
    default:
      for (const child of children(node)) visit(symbols, child);
  }
}

function visitIf(symbols: Symbols, node: Statement & { type: "If" }): void {
  visit(symbols, node.test);
  const branch = (statements: readonly Statement[]) => {
    const own = copy(symbols);
    for (const statement of statements) visit(own, statement);
    return own;
  };
  joinBranches(symbols, [branch(node.body), branch(node.elifs), branch(node.otherwise)]);
}

/** Which of some names are read before they are set, as Jinja2 finds whether `loop`, `caller`, … are used. */
export function findUndeclared(nodes: readonly Node[], names: readonly string[]): Set<string> {
  const watched = new Set(names);
  const undeclared = new Set<string>();
  const look = (node: Node): void => {
    if (node.type === "Block") return;
    if (node.type === "Name") {
      if (node.use === "load" && watched.has(node.name)) undeclared.add(node.name);
      else watched.delete(node.name);
      return;
    }
    for (const child of children(node)) look(child);
  };
  for (const node of nodes) look(node);
  return undeclared;
}

/** The variables that frames around a place have set, by name: what a scoped block sees. */
export function visibleStores(symbols: Symbols): Map<string, string> {
  const visible = new Map<string, string>();
  for (let frame: Symbols | null = symbols; frame !== null; frame = frame.parent) {
    for (const name of [...frame.stores].sort()) {
      if (!visible.has(name)) visible.set(name, findVariable(symbols, name) as string);
    }
  }
  return visible;
}
