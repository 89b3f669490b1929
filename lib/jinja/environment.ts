// SPDX-License-Identifier: Apache-2.0
/** What filters and tests are, so that those which call others by name can be handed all of them. */
import { bind, signature } from "./arguments.ts";
import { JinjaError } from "./errors.ts";
import { spend } from "./meter.ts";
import { isUndefined } from "./undefined.ts";
import { repr } from "./repr.ts";
import { type Keywords, textOf, type Value } from "./values.ts";

/** A filter or a test: a value, the arguments behind its name, and the others. */
export type Operation = (
  value: Value,
  args: readonly Value[],
  keywords: Keywords,
  environment: Environment,
) => Value;

export interface Environment {
  readonly filters: ReadonlyMap<string, Operation>;
  readonly tests: ReadonlyMap<string, Operation>;
  /** Filters that Jinja2 has and that are not here, with the reason. */
  readonly refused: ReadonlyMap<string, string>;
}

/** A filter or test with its Python signature, the value left out: `center(width=)`. */
export function operation(
  declaration: string,
  run: (value: Value, ...rest: (Value | undefined)[]) => Value,
): [string, Operation] {
  const declared = signature(declaration);
  return [declared.name, (value, args, keywords) => run(value, ...bind(declared, args, keywords))];
}

/** Calls a filter or test by its name, as `map` and `select` do. */
export function callByName(
  environment: Environment,
  kind: "filter" | "test",
  name: Value,
  value: Value,
  args: readonly Value[],
  keywords: Keywords,
): Value {
  const text = textOf(name);
  const found = text === null ? undefined : environment[`${kind}s`].get(text);
  spend(1);
  if (found !== undefined) return found(value, args, keywords, environment);
  const reason = text === null ? undefined : environment.refused.get(text);
  if (kind === "filter" && reason !== undefined) throw new JinjaError("UnsupportedError", reason);
  const hint = isUndefined(name) ? " (did you forget to quote the callable name?)" : "";
  throw new JinjaError("TemplateRuntimeError", `No ${kind} named ${repr(name)}.${hint}`);
}
