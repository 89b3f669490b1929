// SPDX-License-Identifier: Apache-2.0
/** Errors a caller may want to tell apart. Everything else is the nearest built-in class. */
import { visibleLine } from "./visible_text.ts";

/** An error that says all there is to know, so that it is shown without a stack. */
export class PlainError extends Error {
  /**
   * @param sentence What is wrong and the way out. It stays one line, whatever the names and values in it hold
   * @param options `lines`: shown below it, one each
   */
  constructor(sentence: string, options: ErrorOptions & { readonly lines?: readonly string[] } = {}) {
    const { lines = [], ...rest } = options;
    super([sentence, ...lines.map((line) => `  ${line}`)].map(visibleLine).join("\n"), rest);
  }
}

/** A mistake the user can mend: a flag, a config value, a file. The command line answers it with exit code 2. */
export class UserError extends PlainError {
  override readonly name: string = "UserError";
}

/** Problems that a message spells out: nobody reads a thousand. */
const SHOWN_PROBLEMS = 50;

/** Several mistakes found in one pass, so that they can all be mended at once. */
export class ValidationError extends UserError {
  override readonly name = "ValidationError";
  /** One sentence a mistake, in the order found. */
  readonly problems: readonly string[];

  /** @param subject What was validated, for the first line: `config.json of "tiny"` */
  constructor(subject: string, problems: readonly string[]) {
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    const more = problems.length - SHOWN_PROBLEMS;
    super(`${subject} has ${count}:`, {
      lines: [
        ...problems.slice(0, SHOWN_PROBLEMS).map((problem) => `- ${problem}`),
        ...(more > 0 ? [`- and ${more} more`] : []),
      ],
    });
    this.problems = [...problems];
  }
}

/** Throws a {@linkcode ValidationError} when there are problems. */
export function throwIfAny(subject: string, problems: readonly string[]): void {
  if (problems.length > 0) throw new ValidationError(subject, problems);
}

/**
 * A loss, a gradient or a logit that is NaN or infinite: no mistake of the call, so that the command line answers it with exit
 * code 1.
 */
export class NotFiniteError extends PlainError {
  override readonly name: string = "NotFiniteError";
}

/**
 * A failure of the machine: no room, no memory, a broken disk. No mistake of the call and no defect of the program, so that the
 * command line answers it with exit code 1 and its message alone.
 */
export class MachineError extends PlainError {
  override readonly name: string = "MachineError";
}

/** A call into the native library that failed. */
export class NativeError extends Error {
  override readonly name = "NativeError";
  /** The `meft_status` returned, by its number in `meft.h`. */
  readonly code: number;
  /** The C function, without its prefix: `linear_forward`. */
  readonly op: string;

  constructor(op: string, code: number, message: string) {
    super(message);
    this.op = op;
    this.code = code;
  }
}
