// SPDX-License-Identifier: Apache-2.0
/**
 * Constant expressions, which Jinja2 works out when it compiles a template. That is seen in corners only: a constant is
 * written into Python code, where `-2 ** x` is -(2 ** x), and where inf and nan are names of nothing.
 */
import { children, type Expression } from "./ast.ts";
import { JinjaError } from "./errors.ts";
import type { Evaluate, Frame } from "./runtime.ts";
import { Dict, Float, List, Markup, Range, Tuple, type Value } from "./values.ts";

/** Filters that see the context, which Jinja2 does not call before it renders. */
const CONTEXT_FILTERS = new Set(["map", "select", "reject", "selectattr", "rejectattr", "random"]);

/** Whether an expression has no names and no calls in it. */
export function isConstant(node: Expression): boolean {
  switch (node.type) {
    case "Name":
    case "NamespaceTarget":
    case "Call":
      return false;
    case "Filter":
      if (node.node === null || CONTEXT_FILTERS.has(node.name)) return false;
      break;
    case "Conditional":
      if (node.otherwise === null) return false;
      break;
  }
  return (children(node) as readonly Expression[]).every(isConstant);
}

const NO_FRAME: Frame = {
  slots: [],
  parent: null,
  run: { out: "", outerBuffers: [], line: 0, generations: [] },
  context: { exported: new Map(), resolve: () => undefined },
};

/** The value of a constant expression, or undefined when it raises: then it does so when it is reached. */
export function constantValue(evaluate: Evaluate): Value | undefined {
  try {
    return evaluate(NO_FRAME);
  } catch (error) {
    if (error instanceof JinjaError && error.kind !== "LimitError") return undefined;
    throw error;
  }
}

/** Whether a value can be written as Python code. */
export function isWritable(value: Value): boolean {
  if (value === null || typeof value !== "object") return true;
  if (value instanceof List || value instanceof Tuple) return value.items.every(isWritable);
  if (value instanceof Dict) return value.keys().every(isWritable) && value.values().every(isWritable);
  return value instanceof Float || value instanceof Markup || value instanceof Range;
}

/** A float in a value that Python code has no literal for. */
export function unwritableFloat(value: Value): "inf" | "nan" | null {
  if (value instanceof Float) {
    return Number.isNaN(value.value) ? "nan" : Number.isFinite(value.value) ? null : "inf";
  }
  const items = value instanceof List || value instanceof Tuple
    ? value.items
    : value instanceof Dict
    ? [...value.keys(), ...value.values()]
    : [];
  for (const item of items) {
    const found = unwritableFloat(item);
    if (found !== null) return found;
  }
  return null;
}
