// SPDX-License-Identifier: Apache-2.0
/** What became of a command that failed: a message for people, the same as JSON, and an exit code. */
import { CommanderError } from "commander";
import { MachineError, NativeError, NotFiniteError, UserError, ValidationError } from "../core/errors.ts";
import { isRefusedArray, MEMORY_WAY_OUT } from "../native/host_memory.ts";
import { isDefect } from "../native/status.ts";
import { createOutput, printError } from "./output.ts";

/** Exit codes: 0 only when the work was done, 2 for a user's mistake, 130 after an interrupt. */
export const EXIT = { done: 0, failed: 1, userMistake: 2, interrupted: 130 } as const;

/** Who can mend it: the user, the machine's owner, whoever looks at data and learning rate, or a developer. */
export type FailureKind = "user" | "machine" | "not-finite" | "internal";

/** Why a command failed. */
export interface Failure {
  readonly kind: FailureKind;
  readonly message: string;
  /** One sentence a mistake, where several were found. */
  readonly problems?: readonly string[];
  /** Where in the program; only of what is a defect of it. */
  readonly stack?: string;
}

/** What is no defect of the program has no stack; anything else does, for a report. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ValidationError) {
    return { kind: "user", message: error.message, problems: error.problems };
  }
  if (error instanceof UserError || error instanceof Deno.errors.NotCapable) {
    return { kind: "user", message: error.message };
  }
  if (error instanceof CommanderError) {
    return { kind: "user", message: error.message.replace(/^error: /, "") };
  }
  if (error instanceof NotFiniteError) return { kind: "not-finite", message: error.message };
  if (isRefusedArray(error)) {
    return { kind: "machine", message: `Not enough memory for an array; ${MEMORY_WAY_OUT}` };
  }
  if (!(error instanceof Error)) return { kind: "internal", message: String(error) };
  const { message } = error;
  const isOfMachine = error instanceof MachineError || error instanceof NativeError && !isDefect(error) ||
    /\(os error \d+\)/.test(message); // the system's refusal, whoever met it
  if (isOfMachine) return { kind: "machine", message };
  const cause = error.cause instanceof Error ? `\ncaused by: ${error.cause.message}` : "";
  return { kind: "internal", message, stack: `${error.stack ?? message}${cause}` };
}

/**
 * Says on stderr why a command failed, and with `json` in one object on stdout too.
 *
 * @returns The exit code
 */
export function reportFailure(error: unknown, json: boolean): number {
  const { stack, ...failure } = failureOf(error);
  printError(stack ?? failure.message);
  const exitCode = failure.kind === "user" ? EXIT.userMistake : EXIT.failed;
  try {
    createOutput({ json, quiet: true }).result({ error: failure, exitCode });
  } catch {
    // Nobody reads stdout: stderr and the exit code have said it.
  }
  return exitCode;
}
