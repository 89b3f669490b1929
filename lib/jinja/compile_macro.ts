// SPDX-License-Identifier: Apache-2.0
/** Macros and call blocks to closures. */
import type { CallBlock, Macro } from "./ast.ts";
import { type Compiler, enterFrame, type Place, type Scope, slotOf } from "./compiler.ts";
import { JinjaError, typeError } from "./errors.ts";
import { repr } from "./repr.ts";
import { deeper } from "./meter.ts";
import { capture, type Evaluate, type Execute, type Frame } from "./runtime.ts";
import { analyzeBody, declareParameter, findUndeclared, newSymbols } from "./symbols.ts";
import { undefinedBecause } from "./undefined.ts";
import { Dict, type Keywords, Thing, Tuple, type Value } from "./values.ts";

/** A macro as its body sees it. */
interface MacroCode {
  readonly name: string | null;
  readonly parameters: readonly string[];
  readonly scope: Scope;
  /** Slots of the parameters; of `caller`, `kwargs` and `varargs` where the body asks for them. */
  readonly slots: readonly number[];
  readonly caller: number | null;
  readonly kwargs: number | null;
  readonly varargs: number | null;
  /** What a parameter that was not given gets. */
  readonly defaults: readonly Evaluate[];
  readonly enter: (frame: Frame) => void;
  readonly body: Execute;
}

/** Compiles a macro, or the body of a call block, to what makes it a value. */
export function compileMacro(compiler: Compiler, node: Macro | CallBlock, outer: Place): Evaluate {
  const code = compileCode(compiler, node, outer);
  return (frame) => makeMacro(code, frame);
}

function compileCode(compiler: Compiler, node: Macro | CallBlock, outer: Place): MacroCode {
  const symbols = newSymbols(outer.symbols);
  const scope: Scope = { slots: new Map(), parent: outer.scope };
  const place: Place = { symbols, scope, top: false, soft: false, inLoop: false };
  const parts = [...node.parameters, ...node.defaults, ...node.body];
  analyzeBody(symbols, parts);
  const parameters = node.parameters.map(({ name }) => name);
  const undeclared = findUndeclared(node.body, ["caller", "kwargs", "varargs"]);
  const special = (name: string) => {
    if (!undeclared.has(name) || parameters.includes(name)) return null;
    return slotOf(scope, declareParameter(symbols, name));
  };
  const callerAt = parameters.indexOf("caller");
  const withDefault = parameters.length - node.defaults.length;
  if (undeclared.has("caller") && callerAt >= 0 && callerAt < withDefault) {
    throw new JinjaError(
      "TemplateAssertionError",
      'When defining macros or call blocks the special "caller" argument must be omitted or be given a default.',
      node.line,
    );
  }
  const [caller, kwargs, varargs] = [special("caller"), special("kwargs"), special("varargs")];
  analyzeBody(symbols, parts);
  const slots = parameters.map((name) => slotOf(scope, symbols.refs.get(name) as string));
  const enter = enterFrame(place);
  const defaults = parameters.map((name, i): Evaluate => {
    const given = node.defaults[i - withDefault];
    if (given !== undefined) return compiler.expression(given, place);
    return () => undefinedBecause(`parameter '${name}' was not provided`, name);
  });
  const body = compiler.body(node.body, place);
  const name = node.type === "Macro" ? node.name : null;
  return { name, parameters, scope, slots, caller, kwargs, varargs, defaults, enter, body };
}

function makeMacro(code: MacroCode, parent: Frame): Thing {
  const { name, parameters } = code;
  const attributes: Readonly<Record<string, Value>> = {
    name,
    arguments: new Tuple(parameters),
    catch_kwargs: code.kwargs !== null,
    catch_varargs: code.varargs !== null,
    caller: code.caller !== null,
    explicit_caller: parameters.includes("caller"),
  };
  return new Thing(
    "Macro",
    (attribute) => Object.hasOwn(attributes, attribute) ? attributes[attribute] : undefined,
    (args, keywords) => deeper(() => callMacro(code, parent, args, keywords)),
    `<Macro ${name === null ? "anonymous" : repr(name)}>`,
  );
}

/** Binds the arguments, runs the body, and gives what it has written. */
function callMacro(code: MacroCode, parent: Frame, args: readonly Value[], keywords: Keywords): Value {
  const frame: Frame = {
    slots: new Array(code.scope.slots.size),
    parent,
    run: parent.run,
    context: parent.context,
  };
  bindArguments(code, frame, args, new Map(keywords ?? []));
  code.enter(frame);
  for (let i = 0; i < code.slots.length; i++) {
    const slot = code.slots[i] as number;
    if (frame.slots[slot] === undefined) frame.slots[slot] = code.defaults[i]?.(frame);
  }
  return capture(frame, code.body).text;
}

function bindArguments(
  code: MacroCode,
  frame: Frame,
  args: readonly Value[],
  keywords: Map<string, Value>,
): void {
  const { slots: values } = frame;
  const { parameters, name } = code;
  const take = (keyword: string) => {
    const value = keywords.get(keyword);
    keywords.delete(keyword);
    return value;
  };
  let callerGiven = args.length >= parameters.length && parameters.includes("caller");
  parameters.forEach((parameter, i) => {
    callerGiven ||= i >= args.length && parameter === "caller";
    values[code.slots[i] as number] = i < args.length ? args[i] : take(parameter);
  });
  if (code.caller !== null && !callerGiven) {
    values[code.caller] = take("caller") ?? undefinedBecause("No caller defined", "caller");
  }
  if (code.kwargs !== null) {
    const rest = new Dict();
    for (const [keyword, value] of keywords) rest.set(keyword, value);
    values[code.kwargs] = rest;
  } else if (keywords.size > 0) {
    const shown = name === null ? "None" : repr(name);
    if (keywords.has("caller")) {
      throw typeError(
        `macro ${shown} was invoked with two values for the special caller argument. This is most likely a bug.`,
      );
    }
    throw typeError(`macro ${shown} takes no keyword argument ${repr([...keywords.keys()][0] as string)}`);
  }
  if (code.varargs !== null) values[code.varargs] = new Tuple(args.slice(parameters.length));
  else if (args.length > parameters.length) {
    throw typeError(
      `macro ${name === null ? "None" : repr(name)} takes not more than ${parameters.length} argument(s)`,
    );
  }
}
