// SPDX-License-Identifier: Apache-2.0
/** Labels of rows as numbers of classes. */
import { quotedNames, quotedValue } from "../core/quoted.ts";
import { didYouMean } from "../core/suggestion.ts";
import { RowError } from "./row_error.ts";

/** A class as rows have it: its name, or its number from 0. */
export type ClassLabel = string | number;

/** Classes of a data set that names none: more are no classes, but numbers of something else. */
const MOST_CLASSES = 1_000_000;

/**
 * Names of the classes of a data set, where no model names them: those of names as they sort; of numbers all up to the largest,
 * by transformers' own names.
 *
 * @throws {RowError} When names and numbers are mixed
 */
export function classNames(labels: Iterable<ClassLabel>): readonly string[] {
  const all = [...new Set(labels)];
  const names = all.filter((label) => typeof label === "string");
  if (names.length === all.length) return names.sort((a, b) => a < b ? -1 : 1);
  if (names.length > 0) {
    const number = all.find((label) => typeof label === "number");
    throw new RowError(
      "wrong type",
      `"label" is ${quotedValue(number)} in one row and ${
        quotedValue(names[0])
      } in another, expected names or numbers`,
    );
  }
  const largest = (all as number[]).reduce((most, label) => Math.max(most, label), -1);
  if (largest >= MOST_CLASSES) {
    throw new RowError("unknown label", `"label" is ${largest}, expected a number below ${MOST_CLASSES}`);
  }
  return Array.from({ length: largest + 1 }, (_, i) => `LABEL_${i}`);
}

/**
 * The number of a class.
 *
 * @param label Its name, or its number already; null where a row has none
 * @throws {RowError} When there is no such class, listing those there are
 */
export function classNumber(label: ClassLabel | null, names: readonly string[]): number {
  if (label === null) throw new RowError("empty", 'the row has no "label"');
  const number = typeof label === "string" ? names.indexOf(label) : label;
  if (number >= 0 && number < names.length) return number;
  const range = typeof label === "number" ? `a number from 0 to ${names.length - 1} or ` : "";
  const near = typeof label === "string" ? didYouMean(label, names) : "";
  throw new RowError(
    "unknown label",
    `"label" is ${quotedValue(label)}, expected ${range}one of ${quotedNames(names, 20)}${near}`,
  );
}
