// SPDX-License-Identifier: Apache-2.0
/** Options that code or a file chose, checked against their schema: every mistake found at once, one sentence each. */
import type { Json, JsonObject } from "./json.ts";
import type { DefaultsOf, OptionSchema, OptionsOf, OptionSpec, OptionValue } from "./options.ts";
import { quotedValue } from "./quoted.ts";
import { didYouMean } from "./suggestion.ts";

/** What an option is called in a message. */
export type OptionLabel = (name: string) => string;

const ownName: OptionLabel = (name) => name;

/** The options of a schema among others, over its constants; what is undefined counts for nothing. */
export function withDefaults<S extends OptionSchema>(
  schema: S,
  options: { readonly [K in keyof S]?: OptionValue<S[K]> | undefined },
): Omit<OptionsOf<S>, keyof DefaultsOf<S>> & DefaultsOf<S> {
  const entries = Object.entries(schema).flatMap(([name, spec]) => {
    const value = options[name] === undefined ? spec.default : options[name];
    return value === undefined ? [] : [[name, value]];
  });
  return Object.fromEntries(entries);
}

/** Names that the schema lacks. @param owner Whose options they would be: `the sparse adapter` */
export function unknownOptions(schema: OptionSchema, options: object, owner: string): string[] {
  const names = Object.keys(schema);
  return Object.keys(options).filter((name) => !Object.hasOwn(schema, name)).map((name) =>
    `"${name}" is no option of ${owner}${names.length === 0 ? ": it has none" : didYouMean(name, names)}`
  );
}

/**
 * What is wrong with values one by one. Lists, and numbers and values by name, are their owner's to check.
 *
 * @param values By the option's name; what is undefined is not checked
 */
export function optionProblems(
  schema: OptionSchema,
  values: Readonly<Record<string, unknown>>,
  label: OptionLabel = ownName,
): string[] {
  return Object.entries(schema).flatMap(([name, spec]) => {
    const value = values[name];
    return value === undefined || takes(spec, value)
      ? []
      : [`${label(name)} is ${quotedValue(value)}, expected ${expectedText(spec)}`];
  });
}

/** Whether a value is one of an option, as its owner has them. */
export function takes(spec: OptionSpec, value: unknown): boolean {
  if (value === null) return Boolean(spec.nullable);
  switch (spec.kind) {
    case "switch":
      return typeof value === "boolean";
    case "integer":
      return Number.isSafeInteger(value) && inBounds(spec, value as number);
    case "number":
      return typeof value === "number" && inBounds(spec, value);
    case "text":
      return typeof value === "string"
        ? !isDigits(value, spec) && isChoice(spec, value)
        : isNumeral(spec, value);
    default:
      return true;
  }
}

function inBounds(spec: OptionSpec, value: number): boolean {
  const { min = -Infinity, max = Infinity, above, below, f32, nullable } = spec;
  // As the kernels compute with it: 1e39 would be infinite there, 1e-50 nothing.
  const meant = f32 ? Math.fround(value) : value;
  // Where null is no limit, so is infinity.
  if (!Number.isFinite(meant) && !(nullable && meant === Infinity)) return false;
  return (above === true ? meant > min : meant >= min) && (below ? meant < max : meant <= max);
}

function isChoice({ choices }: OptionSpec, value: string): boolean {
  return choices === undefined ? value !== "" : choices.includes(value);
}

/** Whole numbers among choices are numbers to their owner. */
function isDigits(value: string, { choices }: OptionSpec): boolean {
  return choices !== undefined && /^\d+$/.test(value);
}

function isNumeral({ choices }: OptionSpec, value: unknown): boolean {
  return typeof value === "number" && (choices?.includes(String(value)) ?? false);
}

/** What an option takes, to end a sentence: `a whole number of at least 1`, `a number from 0 to below 1`, `raw, softmax`. */
export function expectedText(spec: OptionSpec): string {
  const { kind, choices, min, max, above, below, f32, nullable } = spec;
  if (kind === "switch") return "true or false";
  if (kind === "text") return choices?.join(", ") ?? "text";
  const what = kind === "integer" ? "a whole number" : "a number";
  const orNull = typeof nullable === "string" ? `, or null for ${nullable}` : "";
  return `${what}${boundsText(min, max, above === true, below)}${
    f32 && max === undefined ? ", up to 3.4e38" : ""
  }${orNull}`;
}

function boundsText(min?: number, max?: number, above = false, below = false): string {
  const to = max === undefined ? "" : ` to ${below ? "below " : ""}${max}`;
  if (min === undefined) return to;
  if (above) return ` above ${min}${max === undefined ? "" : ` and${below ? to : ` up to ${max}`}`}`;
  return max === undefined ? ` of at least ${min}` : ` from ${min}${to}`;
}

/** What records say of decided options: those of the first versions always, later ones where they were chosen. */
export function recordedOptions(schema: OptionSchema, settings: object): JsonObject {
  const values = settings as Readonly<Record<string, Json>>;
  const entries = Object.entries(schema).filter(([name, spec]) =>
    spec.always || (values[name] !== spec.default && !isNothing(values[name]))
  );
  return Object.fromEntries(entries.map(([name]) => [name, values[name] as Json]));
}

function isNothing(value: unknown): boolean {
  return value === null || value === undefined ||
    (typeof value === "object" && !Array.isArray(value) && Object.keys(value).length === 0);
}
