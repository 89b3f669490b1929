// SPDX-License-Identifier: Apache-2.0
/** Statements to closures. */
import type { CallBlock, Expression, If, Statement } from "./ast.ts";
import { callValue } from "./call.ts";
import { compileArguments, compileExpression, compileFilter, constantText } from "./compile_expression.ts";
import { compileFor } from "./compile_loop.ts";
import { compileMacro } from "./compile_macro.ts";
import { type Compiler, enterFrame, leaveFrame, type Place, reader, slotOf, variableOf } from "./compiler.ts";
import { JinjaError, typeError } from "./errors.ts";
import { setAttribute } from "./globals.ts";
import { truth, unpack } from "./iterate.ts";
import { checkLength, spend } from "./meter.ts";
import { str } from "./repr.ts";
import { BREAK, capture, CONTINUE, type Evaluate, type Execute, type Frame, NORMAL } from "./runtime.ts";
import { analyzeBody, newSymbols, visibleStores } from "./symbols.ts";
import { Namespace, textOf, typeName, type Value } from "./values.ts";

/** A compiler of the statements and expressions of one template. */
export function makeCompiler(): Compiler {
  const compiler: Compiler = {
    expression: (node, place) => compileExpression(compiler, node, place),
    body: (statements, place) => inOrder(statements.map((node) => compileStatement(compiler, node, place))),
    blocks: new Map(),
  };
  return compiler;
}

function inOrder(statements: readonly Execute[]): Execute {
  const [only] = statements;
  if (only === undefined) return () => NORMAL;
  if (statements.length === 1) return only;
  return (frame) => {
    for (let i = 0; i < statements.length; i++) {
      const signal = (statements[i] as Execute)(frame);
      if (signal !== NORMAL) return signal;
    }
    return NORMAL;
  };
}

function compileStatement(compiler: Compiler, node: Statement, place: Place): Execute {
  const run = compileKind(compiler, node, place);
  const { line } = node;
  return (frame) => {
    spend(1);
    frame.run.line = line;
    return run(frame);
  };
}

function compileKind(compiler: Compiler, node: Statement, place: Place): Execute {
  switch (node.type) {
    case "Output":
      return compileOutput(compiler, node.nodes, place);
    case "If":
      return compileIf(compiler, node, place);
    case "For":
      return compileFor(compiler, node, place);
    case "Assign": {
      const value = compiler.expression(node.node, place);
      const assign = compileAssignment(node.target, place);
      return (frame) => {
        assign(frame, value(frame));
        return NORMAL;
      };
    }
    case "AssignBlock":
      return compileAssignBlock(compiler, node, place);
    case "Macro": {
      const macro = compileMacro(compiler, node, place);
      const assign = compileStore(node.name, node.line, place);
      return (frame) => {
        assign(frame, macro(frame));
        return NORMAL;
      };
    }
    case "CallBlock":
      return compileCallBlock(compiler, node, place);
    case "FilterBlock":
      return compileFilterBlock(compiler, node, place);
    case "With":
      return compileWith(compiler, node, place);
    case "Scope": {
      const { inner, enter, leave } = openFrame(place, node.body);
      return framed(enter, compiler.body(node.body, inner), leave);
    }
    case "Block":
      return compileBlock(compiler, node, place);
    case "OtherTemplate":
      return compileOtherTemplate(compiler, node, place);
    case "Break":
    case "Continue":
      if (!place.inLoop) {
        const message = node.type === "Break" ? "'break' outside loop" : "'continue' not properly in loop";
        throw new JinjaError("TemplateSyntaxError", message, node.line);
      }
      return node.type === "Break" ? () => BREAK : () => CONTINUE;
  }
}

/** Writes what expressions give; constants next to each other are one text. */
function compileOutput(compiler: Compiler, nodes: readonly Expression[], place: Place): Execute {
  const parts: (string | Evaluate)[] = [];
  for (const node of nodes) {
    const text = constantText(compiler, node, place);
    const last = parts.at(-1);
    if (text === null) parts.push(compiler.expression(node, place));
    else if (typeof last === "string") parts[parts.length - 1] = last + text;
    else parts.push(text);
  }
  return (frame) => {
    const { run } = frame;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i] as string | Evaluate;
      if (typeof part === "string") {
        run.out += part;
      } else {
        const value = part(frame);
        run.out += typeof value === "string" ? value : str(value);
      }
      checkLength(run.out.length);
    }
    return NORMAL;
  };
}

/** Writes what a filter or call block gives. Jinja2 makes no text of it, so it must be one. */
function write({ run }: Frame, value: Value): void {
  const text = textOf(value);
  if (text === null) throw typeError(`sequence item 0: expected str instance, ${typeName(value)} found`);
  run.out += text;
  checkLength(run.out.length);
}

function compileIf(compiler: Compiler, node: If, place: Place): Execute {
  const soft = { ...place, soft: true };
  const branches = [node, ...node.elifs].map(({ test, body }) => ({
    test: compiler.expression(test, soft),
    body: compiler.body(body, soft),
  }));
  const otherwise = compiler.body(node.otherwise, soft);
  const [first] = branches;
  if (branches.length === 1 && first !== undefined) {
    return (frame) => truth(first.test(frame)) ? first.body(frame) : otherwise(frame);
  }
  return (frame) => {
    for (const { test, body } of branches) if (truth(test(frame))) return body(frame);
    return otherwise(frame);
  };
}

type Assign = (frame: Frame, value: Value) => void;

/** Sets a name; at the top of the template also for blocks and macros that look it up. */
function compileStore(name: string, line: number, place: Place): Assign {
  const slot = slotOf(place.scope, variableOf(place, name, line));
  if (!place.top) {
    return (frame, value) => {
      frame.slots[slot] = value;
    };
  }
  return (frame, value) => {
    frame.slots[slot] = value;
    frame.context.exported.set(name, value);
  };
}

function compileTargets(target: Expression, place: Place): Assign {
  if (target.type === "Name") return compileStore(target.name, target.line, place);
  if (target.type === "NamespaceTarget") {
    const read = reader(place.scope, variableOf(place, target.name, target.line));
    return (frame, value) => setAttribute(read(frame) as Namespace, target.attribute, value);
  }
  const parts = target.type === "Tuple" ? target.items.map((item) => compileTargets(item, place)) : [];
  return (frame, value) => {
    const values = unpack(value, parts.length);
    for (let i = 0; i < parts.length; i++) parts[i]?.(frame, values[i] as Value);
  };
}

/** Checks the namespaces of a target before anything is set. */
function compileAssignment(target: Expression, place: Place): Assign {
  const assign = compileTargets(target, place);
  const namespaces = (target.type === "Tuple" ? target.items : [target])
    .filter((item) => item.type === "NamespaceTarget")
    .map(({ name, line }) => reader(place.scope, variableOf(place, name, line)));
  if (namespaces.length === 0) return assign;
  return (frame, value) => {
    for (const read of namespaces) {
      if (!(read(frame) instanceof Namespace)) {
        throw new JinjaError("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
      }
    }
    assign(frame, value);
  };
}

/** A frame of its own within the same call: of a set block, a filter block, a scope. */
function openFrame(
  place: Place,
  nodes: readonly (Statement | Expression)[],
): { inner: Place; enter: (frame: Frame) => void; leave: (frame: Frame) => void } {
  const inner: Place = { ...place, symbols: newSymbols(place.symbols), top: false, soft: false };
  analyzeBody(inner.symbols, nodes);
  return { inner, enter: enterFrame(inner), leave: leaveFrame(inner) };
}

function framed(enter: (frame: Frame) => void, body: Execute, leave: (frame: Frame) => void): Execute {
  return (frame) => {
    enter(frame);
    const signal = body(frame);
    if (signal === NORMAL) leave(frame);
    return signal;
  };
}

function compileAssignBlock(
  compiler: Compiler,
  node: Statement & { type: "AssignBlock" },
  place: Place,
): Execute {
  const { inner, enter, leave } = openFrame(place, node.body);
  const body = compiler.body(node.body, inner);
  const assign = compileAssignment(node.target, place);
  const slot = slotOf(inner.scope, `text of a set block@${inner.symbols.level}`);
  const input: Evaluate = (frame) => frame.slots[slot] as Value;
  const filter = node.filter === null
    ? null
    : compileFilter(node.filter, inner, (one) => compiler.expression(one, inner), input);
  return (frame) => {
    enter(frame);
    const { text, signal } = capture(frame, body);
    if (signal !== NORMAL) return signal;
    frame.slots[slot] = text;
    assign(frame, filter === null ? text : filter(frame));
    leave(frame);
    return NORMAL;
  };
}

function compileFilterBlock(
  compiler: Compiler,
  node: Statement & { type: "FilterBlock" },
  place: Place,
): Execute {
  const { inner, enter, leave } = openFrame(place, [...node.body, node.filter]);
  const body = compiler.body(node.body, inner);
  const slot = slotOf(inner.scope, `text of a filter block@${inner.symbols.level}`);
  const input: Evaluate = (frame) => frame.slots[slot] as Value;
  const filter = compileFilter(node.filter, inner, (one) => compiler.expression(one, inner), input);
  return (frame) => {
    enter(frame);
    const { text, signal } = capture(frame, body);
    if (signal !== NORMAL) return signal;
    frame.slots[slot] = text;
    write(frame, filter(frame));
    leave(frame);
    return NORMAL;
  };
}

function compileWith(compiler: Compiler, node: Statement & { type: "With" }, place: Place): Execute {
  const { inner, enter, leave } = openFrame(place, [...node.targets, ...node.body]);
  const assigns = node.targets.map((target, i) => {
    const assign = compileTargets(target, inner);
    const value = compiler.expression(node.values[i] as Expression, place);
    return (frame: Frame) => assign(frame, value(frame));
  });
  const body = compiler.body(node.body, inner);
  return framed(
    (frame) => {
      enter(frame);
      for (const assign of assigns) assign(frame);
    },
    body,
    leave,
  );
}

function compileCallBlock(compiler: Compiler, node: CallBlock, place: Place): Execute {
  const macro = compileMacro(compiler, node, place);
  if (node.call === null) return compileGeneration(macro);
  const { call } = node;
  if (call.keywords.some(({ name }) => name === "caller")) {
    throw new JinjaError("TemplateSyntaxError", "keyword argument repeated: caller", node.line);
  }
  const compile = (one: Expression) => compiler.expression(one, place);
  const callee = compile(call.node);
  const bind = compileArguments(call, compile);
  return (frame) => {
    const caller = macro(frame);
    const called = callee(frame);
    const { args, keywords } = bind(frame);
    write(frame, callValue(called, args, new Map([...keywords ?? [], ["caller", caller]])));
    return NORMAL;
  };
}

/** `{% generation %}`: text of the assistant, whose place in the output is kept. */
function compileGeneration(macro: Evaluate): Execute {
  return (frame) => {
    const { run } = frame;
    const text = str(callValue(macro(frame), [], null));
    const start = (run.outerBuffers[0] ?? run.out).length;
    run.generations.push([start, start + text.length]);
    run.out += text;
    return NORMAL;
  };
}

/** A block is rendered where it stands: there is no other template that could fill it. */
function compileBlock(compiler: Compiler, node: Statement & { type: "Block" }, place: Place): Execute {
  const visible = node.scoped
    ? [...visibleStores(place.symbols)].map(([name, variable]) =>
      [name, reader(place.scope, variable)] as const
    )
    : null;
  return (frame) => {
    if (node.required) {
      throw new JinjaError("TemplateRuntimeError", `Required block '${node.name}' not found`);
    }
    const block = compiler.blocks.get(node.name) as Execute;
    if (visible === null) return block(frame);
    const locals = new Map<string, Value | undefined>(visible.map(([name, read]) => [name, read(frame)]));
    const { context } = frame;
    const resolve = (name: string) => locals.get(name) ?? context.resolve(name);
    return block({ ...frame, context: { exported: new Map(), resolve } });
  };
}

function compileOtherTemplate(
  compiler: Compiler,
  node: Statement & { type: "OtherTemplate" },
  place: Place,
): Execute {
  if (node.tag === "extends" && !place.top) {
    throw new JinjaError("TemplateAssertionError", "cannot use extend from a non top-level scope", node.line);
  }
  const template = compiler.expression(node.template, place);
  return (frame) => {
    template(frame);
    throw new JinjaError(
      "TypeError",
      `no loader for this environment specified: {% ${node.tag} %} has no other template`,
    );
  };
}
