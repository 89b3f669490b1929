// SPDX-License-Identifier: Apache-2.0
/** Reads fields of a `config.json`, collecting every problem, and remembers which fields were read. */

/** A configuration being read. */
export interface ConfigFields {
  readonly values: Readonly<Record<string, unknown>>;
  /** Names read so far; what is left over at the end is unknown. */
  readonly used: Set<string>;
  readonly problems: string[];
  /** Put before names in messages: `rope_scaling.`, or nothing. */
  readonly prefix: string;
}

/** Range of a number field, and what stands for a missing or null one; without `missing` the field must be there. */
export interface NumberRule<Missing> {
  readonly min?: number;
  readonly above?: number;
  readonly missing?: Missing;
}

/** Whether a JSON value is an object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Fields of a record, none read yet. */
export function configFields(
  values: Readonly<Record<string, unknown>>,
  problems: string[],
  prefix = "",
): ConfigFields {
  return { values, used: new Set(), problems, prefix };
}

/** The value of a field as it is; undefined when absent. Marks it as read. @mutates fields */
export function rawField(fields: ConfigFields, name: string): unknown {
  fields.used.add(name);
  return fields.values[name];
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

/** A token id, a list of them, or null, as a list. @mutates fields */
export function tokenIdsField(fields: ConfigFields, name: string): number[] {
  const value = rawField(fields, name) ?? [];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (ids.every((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0)) return [...ids];
  return problem(fields, name, "a token id or a list of token ids", []);
}

/** Says that a field has not the wanted value, and returns what to go on with. @mutates fields.problems */
export function problem<T>(fields: ConfigFields, name: string, wanted: string, instead: T): T {
  const value = fields.values[name];
  const given = value === undefined ? "is missing" : `is ${JSON.stringify(value)}`;
  fields.problems.push(`Field "${fields.prefix}${name}" ${given}, expected ${wanted}`);
  return instead;
}

/** Says which fields nobody read. @mutates fields.problems */
export function reportUnknown(fields: ConfigFields, ignorable: ReadonlySet<string> = new Set()): void {
  for (const name of Object.keys(fields.values)) {
    if (fields.used.has(name) || ignorable.has(name)) continue;
    fields.problems.push(
      `Field "${fields.prefix}${name}" (${JSON.stringify(fields.values[name])}) is unknown: ` +
        "what it asks of the model is not supported",
    );
  }
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
  const { min = -Infinity, above = -Infinity } = rule;
  if (test(value) && (value as number) >= min && (value as number) > above) return value as number;
  const range = min > -Infinity ? ` of at least ${min}` : above > -Infinity ? ` above ${above}` : "";
  return problem(fields, name, kind + range, 1);
}
