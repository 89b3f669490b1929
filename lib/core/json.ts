// SPDX-License-Identifier: Apache-2.0
/** Values that survive JSON: what configurations and files are made of. */

/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

/** A JSON object. */
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Whether a parsed value is an object, not an array and not null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Keys, with dots for nesting, whose values differ; `undefined` stands for a key that is missing. */
export function jsonDifferences(
  before: Json | undefined,
  after: Json | undefined,
  path = "",
): { readonly path: string; readonly before: Json | undefined; readonly after: Json | undefined }[] {
  if (isJsonObject(before) && isJsonObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return keys.flatMap((key) =>
      jsonDifferences(before[key], after[key], path === "" ? key : `${path}.${key}`)
    );
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
}
