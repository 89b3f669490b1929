// SPDX-License-Identifier: Apache-2.0
/** What a template is parsed to: the nodes of Jinja2, by the same names. */
import type { Value } from "./values.ts";
import type { ArithmeticOperator } from "./numbers.ts";
import type { Comparison } from "./compare.ts";

/** How a name is used. */
export type Use = "load" | "store" | "param";

export interface Name {
  readonly type: "Name";
  readonly name: string;
  use: Use;
  readonly line: number;
}

/** `namespace.attribute` as the target of a set. */
export interface NamespaceTarget {
  readonly type: "NamespaceTarget";
  readonly name: string;
  readonly attribute: string;
  readonly line: number;
}

export interface Tuple {
  readonly type: "Tuple";
  readonly items: readonly Expression[];
  readonly line: number;
}

/** Arguments of a call, a filter or a test. */
export interface Arguments {
  readonly args: readonly Expression[];
  readonly keywords: readonly { readonly name: string; readonly value: Expression }[];
  readonly starArgs: Expression | null;
  readonly starKeywords: Expression | null;
}

export interface Slice {
  readonly type: "Slice";
  readonly start: Expression | null;
  readonly stop: Expression | null;
  readonly step: Expression | null;
  readonly line: number;
}

export interface Call extends Arguments {
  readonly type: "Call";
  readonly node: Expression;
  readonly line: number;
}

export interface Filter extends Arguments {
  readonly type: "Filter";
  /** Null for the first filter of a block, which takes the block's text. */
  readonly node: Expression | null;
  readonly name: string;
  readonly line: number;
}

export interface Test extends Arguments {
  readonly type: "Test";
  readonly node: Expression;
  readonly name: string;
  readonly line: number;
}

export type Expression =
  | Name
  | NamespaceTarget
  | Tuple
  | Slice
  | Call
  | Filter
  | Test
  | { readonly type: "Text"; readonly text: string; readonly line: number }
  | { readonly type: "Constant"; readonly value: Value; readonly line: number }
  | { readonly type: "List"; readonly items: readonly Expression[]; readonly line: number }
  | {
    readonly type: "Dict";
    readonly pairs: readonly { readonly key: Expression; readonly value: Expression }[];
    readonly line: number;
  }
  | {
    readonly type: "Conditional";
    readonly test: Expression;
    readonly then: Expression;
    readonly otherwise: Expression | null;
    readonly line: number;
  }
  | {
    readonly type: "Binary";
    readonly operator: ArithmeticOperator;
    readonly left: Expression;
    readonly right: Expression;
    readonly line: number;
  }
  | {
    readonly type: "Logical";
    readonly operator: "and" | "or";
    readonly left: Expression;
    readonly right: Expression;
    readonly line: number;
  }
  | {
    readonly type: "Unary";
    readonly operator: "-" | "+" | "not";
    readonly node: Expression;
    readonly line: number;
  }
  | {
    readonly type: "Compare";
    readonly node: Expression;
    readonly operands: readonly {
      readonly operator: Comparison | "in" | "not in";
      readonly node: Expression;
    }[];
    readonly line: number;
  }
  | { readonly type: "Concat"; readonly nodes: readonly Expression[]; readonly line: number }
  | { readonly type: "Attribute"; readonly node: Expression; readonly name: string; readonly line: number }
  | { readonly type: "Item"; readonly node: Expression; readonly key: Expression; readonly line: number };

export interface For {
  readonly type: "For";
  readonly target: Expression;
  readonly items: Expression;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
  readonly test: Expression | null;
  readonly recursive: boolean;
  readonly line: number;
}

export interface If {
  readonly type: "If";
  readonly test: Expression;
  readonly body: readonly Statement[];
  readonly elifs: readonly If[];
  readonly otherwise: readonly Statement[];
  readonly line: number;
}

/** What macros and call blocks share: parameters, the defaults of the last ones, and a body. */
export interface Signature {
  readonly parameters: readonly Name[];
  readonly defaults: readonly Expression[];
}

export interface Macro extends Signature {
  readonly type: "Macro";
  readonly name: string;
  readonly body: readonly Statement[];
  readonly line: number;
}

export interface CallBlock extends Signature {
  readonly type: "CallBlock";
  /** Null for `{% generation %}`, which calls nothing of the template's. */
  readonly call: Call | null;
  readonly body: readonly Statement[];
  readonly line: number;
}

export interface Block {
  readonly type: "Block";
  readonly name: string;
  readonly body: readonly Statement[];
  readonly scoped: boolean;
  readonly required: boolean;
  readonly line: number;
}

export type Statement =
  | For
  | If
  | Macro
  | CallBlock
  | Block
  | { readonly type: "Output"; readonly nodes: readonly Expression[]; readonly line: number }
  | { readonly type: "Assign"; readonly target: Expression; readonly node: Expression; readonly line: number }
  | {
    readonly type: "AssignBlock";
    readonly target: Expression;
    readonly filter: Filter | null;
    readonly body: readonly Statement[];
    readonly line: number;
  }
  | {
    readonly type: "FilterBlock";
    readonly filter: Filter;
    readonly body: readonly Statement[];
    readonly line: number;
  }
  | {
    readonly type: "With";
    readonly targets: readonly Expression[];
    readonly values: readonly Expression[];
    readonly body: readonly Statement[];
    readonly line: number;
  }
  | { readonly type: "Scope"; readonly body: readonly Statement[]; readonly line: number }
  /** extends, include, import, from: other templates, of which there are none. */
  | {
    readonly type: "OtherTemplate";
    readonly tag: string;
    readonly template: Expression;
    /** Names that an import would set. */
    readonly targets: readonly string[];
    readonly line: number;
  }
  | { readonly type: "Break" | "Continue"; readonly line: number };

export type Node = Expression | Statement;

/** The nodes right below a node, in the order in which Jinja2 visits them. */
export function children(node: Node): readonly Node[] {
  switch (node.type) {
    case "Tuple":
    case "List":
      return node.items;
    case "Slice":
      return present([node.start, node.stop, node.step]);
    case "Call":
      return [node.node, ...argumentNodes(node)];
    case "Filter":
      return present([node.node, ...argumentNodes(node)]);
    case "Test":
      return [node.node, ...argumentNodes(node)];
    case "Dict":
      return node.pairs.flatMap(({ key, value }) => [key, value]);
    case "Conditional":
      return present([node.test, node.then, node.otherwise]);
    case "Binary":
    case "Logical":
      return [node.left, node.right];
    case "Unary":
    case "Attribute":
      return [node.node];
    case "Compare":
      return [node.node, ...node.operands.map((operand) => operand.node)];
    case "Concat":
    case "Output":
      return node.nodes;
    case "Item":
      return [node.node, node.key];
    case "For":
      return present([node.target, node.items, ...node.body, ...node.otherwise, node.test]);
    case "If":
      return [node.test, ...node.body, ...node.elifs, ...node.otherwise];
    case "Macro":
      return [...node.parameters, ...node.defaults, ...node.body];
    case "CallBlock":
      return present([node.call, ...node.parameters, ...node.defaults, ...node.body]);
    case "Block":
    case "Scope":
      return node.body;
    case "Assign":
      return [node.target, node.node];
    case "AssignBlock":
      return present([node.target, node.filter, ...node.body]);
    case "FilterBlock":
      return [...node.body, node.filter];
    case "With":
      return [...node.targets, ...node.values, ...node.body];
    case "OtherTemplate":
      return [node.template];
    default:
      return [];
  }
}

function present(nodes: readonly (Node | null)[]): Node[] {
  return nodes.filter((node) => node !== null);
}

function argumentNodes({ args, keywords, starArgs, starKeywords }: Arguments): Expression[] {
  const nodes = [...args, ...keywords.map(({ value }) => value)];
  if (starArgs !== null) nodes.push(starArgs);
  if (starKeywords !== null) nodes.push(starKeywords);
  return nodes;
}

/** Every node below some others. */
export function* descendants(nodes: readonly Node[]): Generator<Node> {
  for (const node of nodes) {
    yield node;
    yield* descendants(children(node));
  }
}
