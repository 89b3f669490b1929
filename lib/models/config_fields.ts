// SPDX-License-Identifier: Apache-2.0
/** Reads fields of a `config.json`, collecting every problem, and remembers which fields were read. */
import { quotedValue } from "../core/quoted.ts";

/** What reading a file leaves to say. */
export interface Notes {
  /** Why it cannot be used. */
  readonly problems: string[];
  /** What its user should know although it can. */
  readonly warnings: string[];
}

/** A configuration being read. */
export interface ConfigFields extends Notes {
  readonly values: Readonly<Record<string, unknown>>;
  /** Names read so far; what is left over at the end is unknown. */
  readonly used: Set<string>;
  /** Put before names in messages: `rope_scaling.`, or nothing. */
  readonly prefix: string;
  /** What fields are called in the file, by the names that readers know them by; see `Family.fieldNames`. */
  readonly ownNames: Readonly<Record<string, string>>;
}

/** Range of a number field, and what stands for a missing or null one; without `missing` the field must be there. */
export interface NumberRule<Missing> {
  readonly min?: number;
  readonly above?: number;
  readonly max?: number;
  readonly missing?: Missing;
}

/** Whether a JSON value is an object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Fields of a record, none read yet. @param notes Where problems and warnings go */
export function configFields(
  values: Readonly<Record<string, unknown>>,
  notes: Notes,
  { prefix = "", ownNames = {} }: Partial<Pick<ConfigFields, "prefix" | "ownNames">> = {},
): ConfigFields {
  return { values, used: new Set(), problems: notes.problems, warnings: notes.warnings, prefix, ownNames };
}

/** What a field is called in the file: as in most families, where only that is there. */
export function ownName({ ownNames, values }: ConfigFields, name: string): string {
  const own = ownNames[name] ?? name;
  return Object.hasOwn(values, own) || !Object.hasOwn(values, name) ? own : name;
}

/** The value of a field as it is; undefined when absent. Marks it as read. @mutates fields */
export function rawField(fields: ConfigFields, name: string): unknown {
  fields.used.add(ownName(fields, name));
  return givenField(fields, name);
}

/** The value of a field as it is, without reading it; undefined when absent. */
export function givenField(fields: ConfigFields, name: string): unknown {
  return isPresent(fields, name) ? fields.values[ownName(fields, name)] : undefined;
}

/** Whether a field is there, be it null. */
export function isPresent(fields: ConfigFields, name: string): boolean {
  return Object.hasOwn(fields.values, ownName(fields, name));
}

/** A whole number; `rule.missing` when absent or null. After a problem, 1. @mutates fields */
export function integerField<Missing = never>(
  fields: ConfigFields,
  name: string,
  rule: NumberRule<Missing> = {},
): number | Missing {
  return number(fields, name, rule, Number.isSafeInteger, "a whole number");
}

/** A finite number; `rule.missing` when absent or null. After a problem, 1. @mutates fields */
export function numberField<Missing = never>(
  fields: ConfigFields,
  name: string,
  rule: NumberRule<Missing> = {},
): number | Missing {
  return number(fields, name, rule, Number.isFinite, "a number");
}

/** A boolean; `missing` when absent or null. @mutates fields */
export function booleanField(fields: ConfigFields, name: string, missing: boolean): boolean {
  const value = rawField(fields, name) ?? missing;
  if (typeof value === "boolean") return value;
  return problem(fields, name, "true or false", missing);
}

/** A string that must be one of `allowed`; the first of them when absent or null. @mutates fields */
export function choiceField(
  fields: ConfigFields,
  name: string,
  allowed: readonly [string, ...string[]],
): string {
  const value = rawField(fields, name) ?? allowed[0];
  if (typeof value === "string" && allowed.includes(value)) return value;
  const wanted = allowed.map((choice) => `"${choice}"`).join(" or ");
  return problem(fields, name, `${wanted}, nothing else is supported`, allowed[0]);
}

/**
 * A token id, a list of them, or null, as a list. Ids that no token of the vocabulary has are left out with a warning, as
 * they can never come: some checkpoints say -1 for none.
 *
 * @param vocabSize Infinity when it is not known
 * @mutates fields
 */
export function tokenIdsField(fields: ConfigFields, name: string, vocabSize: number): number[] {
  const value = rawField(fields, name) ?? [];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (!ids.every((id): id is number => Number.isSafeInteger(id))) {
    return problem(fields, name, "a token id or a list of token ids", []);
  }
  const known = ids.filter((id) => id >= 0 && id < vocabSize);
  if (known.length < ids.length) {
    fields.warnings.push(
      `Field "${fields.prefix}${ownName(fields, name)}" is ${
        quotedValue(value)
      }: no token of the ${vocabSize} has such an id`,
    );
  }
  return known;
}

/** Says that a field has not the wanted value, and returns what to go on with. @mutates fields.problems */
export function problem<T>(fields: ConfigFields, name: string, wanted: string, instead: T): T {
  const given = isPresent(fields, name) ? `is ${quotedValue(givenField(fields, name))}` : "is missing";
  fields.problems.push(`Field "${fields.prefix}${ownName(fields, name)}" ${given}, expected ${wanted}`);
  return instead;
}

function number<Missing>(
  fields: ConfigFields,
  name: string,
  rule: NumberRule<Missing>,
  test: (value: unknown) => boolean,
  kind: string,
): number | Missing {
  const value = rawField(fields, name) ?? null;
  if (value === null && "missing" in rule) return rule.missing as Missing;
  const { min = -Infinity, above = -Infinity, max = Infinity } = rule;
  const inRange = (x: number): boolean => x >= min && x > above && x <= max;
  if (test(value) && inRange(value as number)) return value as number;
  const low = min > -Infinity ? ` of at least ${min}` : above > -Infinity ? ` above ${above}` : "";
  const high = typeof value === "number" && value > max
    ? `${low === "" ? " of" : " and"} at most ${max}`
    : "";
  return problem(fields, name, kind + low + high, 1);
}
