// SPDX-License-Identifier: Apache-2.0
/** What is wrong with a row, for people and for counting. */

/** Kinds of mistakes. */
export type BadRowCategory =
  | "not JSON"
  | "not an object"
  | "unknown shape"
  | "wrong type"
  | "unsupported field"
  | "empty"
  | "no assistant turn"
  | "refused by the chat template"
  | "over-long"
  | "no number"
  | "unknown label"
  | "unreadable picture";

/** Thrown while a row is looked at. */
export class RowError extends Error {
  override readonly name = "RowError";
  readonly category: BadRowCategory;

  constructor(category: BadRowCategory, reason: string) {
    super(reason);
    this.category = category;
  }
}
