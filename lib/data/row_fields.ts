// SPDX-License-Identifier: Apache-2.0
/** Fields of rows of data, and what is said of those that are missing or of another kind. */
import { quotedValue } from "../core/quoted.ts";
import { RowError } from "./row_error.ts";

/** A parsed line. */
export type Fields = Readonly<Record<string, unknown>>;

/** `"question", "answer"`; "" of none. */
export function fieldNames(fields: Fields): string {
  return Object.keys(fields).map((name) => `"${name}"`).join(", ");
}

/** @param expected The accepted shapes */
export function unknownShape(fields: Fields, expected: string): RowError {
  return new RowError(
    "unknown shape",
    `the row has ${fieldNames(fields) || "no fields"}, expected ${expected}`,
  );
}

/**
 * A text that is not blank.
 *
 * @throws {RowError} When the value is none, naming the field and the value
 */
export function filledText(name: string, value: unknown): string {
  if (typeof value !== "string") {
    throw new RowError("wrong type", `"${name}" is ${quotedValue(value)}, expected a string`);
  }
  if (value.trim() === "") throw new RowError("empty", `"${name}" is empty`);
  return value;
}
