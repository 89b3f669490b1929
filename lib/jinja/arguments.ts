// SPDX-License-Identifier: Apache-2.0
/** Binding the arguments of a call to the parameters of a function, as Python does. */
import { typeError } from "./errors.ts";
import type { Keywords, Value } from "./values.ts";

/** Parameters of a function. */
export interface Signature {
  readonly name: string;
  /** Names in order; those that may only be given by place start with `/`. */
  readonly parameters: readonly string[];
  /** How many must be given. */
  readonly required: number;
}

/** `replace(/old, /new, /count=)`: `=` marks parameters that may be left out. */
export function signature(text: string): Signature {
  const [, name = "", list = ""] = /^([\w.]+)\((.*)\)$/.exec(text) ?? [];
  const parameters = list === "" ? [] : list.split(", ");
  return {
    name,
    parameters: parameters.map((parameter) => parameter.replace("=", "")),
    required: parameters.filter((parameter) => !parameter.endsWith("=")).length,
  };
}

/** Values of the parameters in order; undefined for those left out. @throws {JinjaError} A TypeError as Python's */
export function bind(
  { name, parameters, required }: Signature,
  args: readonly Value[],
  keywords: Keywords,
): readonly (Value | undefined)[] {
  if (keywords === null && args.length >= required && args.length <= parameters.length) return args;
  if (args.length > parameters.length) {
    const takes = parameters.length === required ? `${required}` : `from ${required} to ${parameters.length}`;
    throw typeError(
      `${name}() takes ${takes} positional argument${
        parameters.length === 1 ? "" : "s"
      } but ${args.length} were given`,
    );
  }
  const bound: (Value | undefined)[] = [...args];
  for (const [keyword, value] of keywords ?? []) {
    const index = parameters.indexOf(keyword);
    if (index < 0) throw typeError(`${name}() got an unexpected keyword argument '${keyword}'`);
    if (bound[index] !== undefined) {
      throw typeError(`${name}() got multiple values for argument '${keyword}'`);
    }
    bound[index] = value;
  }
  for (let i = 0; i < required; i++) {
    if (bound[i] === undefined) {
      const parameter = (parameters[i] as string).replace("/", "");
      throw typeError(`${name}() missing required argument: '${parameter}'`);
    }
  }
  return bound;
}

/** A function that binds its arguments and is handed them in order. */
export function bound(
  text: string,
  run: (...values: (Value | undefined)[]) => Value,
): (args: readonly Value[], keywords: Keywords) => Value {
  const declared = signature(text);
  return (args, keywords) => run(...bind(declared, args, keywords));
}
