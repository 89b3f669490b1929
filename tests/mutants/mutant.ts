// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of the kinds people make, each with the tests that must notice it. */

/** One wrong change. */
export interface Mutant {
  /** Short and unlike any other: `rates-history-forgotten`. */
  readonly name: string;
  /** What would go wrong for a user. */
  readonly harm: string;
  /** File from the root. */
  readonly file: string;
  /** Text that stands in the file exactly once. */
  readonly find: string;
  /** What stands there instead. */
  readonly replace: string;
  /** Test files, or folders of them, of which at least one must fail. */
  readonly tests: readonly string[];
}

/** The file's text with the wrong change. @throws {RangeError} When what is to be changed does not stand there exactly once */
export function mutate({ name, file, find, replace }: Mutant, text: string): string {
  const parts = text.split(find);
  if (parts.length !== 2) {
    throw new RangeError(
      `Mutant ${name}: its text stands ${parts.length - 1} times in ${file}, expected once`,
    );
  }
  return parts.join(replace);
}
