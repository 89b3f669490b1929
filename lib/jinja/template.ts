// SPDX-License-Identifier: Apache-2.0
/**
 * Jinja2 templates as transformers renders them: its sandbox, `trim_blocks` and `lstrip_blocks` on, loop controls,
 * `{% generation %}`, `tojson` without HTML escapes, no autoescape.
 *
 * Why an engine of our own: a chat template decides what a model is trained on, and the libraries that can be had render
 * another text than Python's Jinja2, without a word. `@huggingface/jinja` ignores the arguments of strip, drops the text
 * of loop rounds that `continue` ends, prints true for True and JSON for a repr, has JavaScript's remainders, white space
 * and UTF-16 positions, and reorders keys that look like numbers. `minijinja` (as WebAssembly) prints none and true in
 * lower case, has no Python methods and other filters. `nunjucks` is another language by now. Pyodide would be exact, at
 * 12 MB and with a package from another registry. Here values, operators, methods and filters are Python's, scoping is a
 * port of Jinja2's own, and what cannot be the same (addresses in memory, random choices) is refused by name.
 */
import { type Block, descendants, type Statement } from "./ast.ts";
import { makeCompiler } from "./compile_statement.ts";
import { type Compiler, enterFrame, type Place, type Scope, slotOf } from "./compiler.ts";
import { toValue } from "./convert.ts";
import { JinjaError } from "./errors.ts";
import { GLOBALS } from "./globals.ts";
import { allowForItems, DEFAULT_LIMITS, type JinjaLimits, metered } from "./meter.ts";
import { parseTemplate } from "./parser.ts";
import { type Context, type Execute, type Frame, NORMAL, type Run } from "./runtime.ts";
import { analyzeBody, declareParameter, findUndeclared, newSymbols } from "./symbols.ts";
import { undefinedBecause } from "./undefined.ts";
import { List, Thing, type Value } from "./values.ts";

/** What a rendering gives. */
export interface Rendering {
  readonly text: string;
  /** Start and end (in UTF-16 units) of each `{% generation %}`, as transformers finds them. */
  readonly generations: readonly (readonly [start: number, end: number])[];
}

/** A compiled template. */
export interface JinjaTemplate {
  readonly source: string;
  /**
   * The text for some variables.
   *
   * @param context Variables by name, converted by {@linkcode toValue}
   * @throws {JinjaError} When Python would raise, a limit is reached, or something is not supported; with the line
   */
  render(context: Readonly<Record<string, unknown>>, limits?: JinjaLimits): string;
  /** The same, with the places of what the assistant says. */
  renderWithGenerations(context: Readonly<Record<string, unknown>>, limits?: JinjaLimits): Rendering;
}

/** @throws {JinjaError} When the template has a syntax error, or names a filter or test that there is not */
export function compileTemplate(source: string): JinjaTemplate {
  const root = guarded(() => metered(DEFAULT_LIMITS, () => compileRoot(parseTemplate(source))));
  const renderWithGenerations = (
    given: Readonly<Record<string, unknown>>,
    limits = DEFAULT_LIMITS,
  ): Rendering => {
    const run: Run = { out: "", outerBuffers: [], line: 1, generations: [] };
    guarded(() => metered(limits, () => root(run, makeContext(given))), run);
    return { text: run.out, generations: run.generations };
  };
  return {
    source,
    renderWithGenerations,
    render: (given, limits) => renderWithGenerations(given, limits).text,
  };
}

/** Gives errors their line, and turns those of the JavaScript engine into one of ours. */
function guarded<T>(work: () => T, run?: Run): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof JinjaError) {
      error.line ??= run?.line ?? null;
      throw error;
    }
    if (!(error instanceof RangeError)) throw error;
    // deeper recursion or a longer string than the engine has; our own limits are meant to come first
    throw new JinjaError(
      "LimitError",
      `the template is beyond what can be run: ${error.message}`,
      run?.line ?? null,
    );
  }
}

function makeContext(given: Readonly<Record<string, unknown>>): Context {
  const names = new Map<string, Value>();
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const converted = toValue(value);
    if (converted instanceof List) allowForItems(converted.items.length);
    names.set(name, converted);
  }
  const exported = new Map<string, Value>();
  const resolve = (name: string): Value | undefined => {
    const own = exported.get(name);
    if (own !== undefined) return own;
    const value = names.get(name);
    return value !== undefined ? value : GLOBALS.get(name);
  };
  return { exported, resolve };
}

/** Compiles the blocks of a template and then all of it. */
function compileRoot(statements: readonly Statement[]): (run: Run, context: Context) => void {
  const compiler = makeCompiler();
  const blocks: Block[] = [];
  for (const node of descendants(statements)) {
    if (node.type !== "Block") continue;
    if (blocks.some(({ name }) => name === node.name)) {
      throw new JinjaError("TemplateAssertionError", `block '${node.name}' defined twice`, node.line);
    }
    blocks.push(node);
  }
  const body = compileFunction(compiler, statements, true, null);
  for (const block of blocks) {
    compiler.blocks.set(block.name, compileFunction(compiler, block.body, false, block.name));
  }
  return (run, context) => body({ slots: [], parent: null, run, context });
}

/** The template itself, or one of its blocks: a frame without one around it. */
function compileFunction(
  compiler: Compiler,
  statements: readonly Statement[],
  top: boolean,
  block: string | null,
): Execute {
  const symbols = newSymbols(null);
  const scope: Scope = { slots: new Map(), parent: null };
  const place: Place = { symbols, scope, top, soft: false, inLoop: false };
  const undeclared = findUndeclared(statements, block === null ? ["self"] : ["self", "super"]);
  const self = undeclared.has("self") ? slotOf(scope, declareParameter(symbols, "self")) : null;
  const parent = undeclared.has("super") ? slotOf(scope, declareParameter(symbols, "super")) : null;
  analyzeBody(symbols, statements);
  const enter = enterFrame(place);
  const body = compiler.body(statements, place);
  return ({ run, context }) => {
    const frame: Frame = { slots: new Array(scope.slots.size), parent: null, run, context };
    if (self !== null) frame.slots[self] = blocksOf(compiler, frame);
    if (parent !== null) {
      frame.slots[parent] = undefinedBecause(`there is no parent block called '${block}'.`, "super");
    }
    enter(frame);
    body(frame);
    return NORMAL;
  };
}

/** `self`, whose attributes are the blocks of the template. */
function blocksOf(compiler: Compiler, frame: Frame): Thing {
  return new Thing("runtime.TemplateReference", (name) => {
    const block = compiler.blocks.get(name);
    if (block === undefined) return undefined;
    return new Thing("runtime.BlockReference", () => undefined, () => {
      const { run } = frame;
      run.outerBuffers.push(run.out);
      run.out = "";
      block(frame);
      const text = run.out;
      run.out = run.outerBuffers.pop() as string;
      return text;
    });
  });
}
