// SPDX-License-Identifier: Apache-2.0
/** What a fuzzer is: hostile inputs by number, and what becomes of one. */
import { MachineError, UserError } from "../../../lib/core/errors.ts";
import type { RandomStream } from "../../../lib/core/rng.ts";

/** What became of an input: it was used, or refused with one error that is meant for people. */
export type Verdict = "accepted" | "refused";

/** One kind of input, and the code that is given it. */
export interface Fuzzer {
  readonly name: string;
  /** The input of one number: the same for the same stream. */
  make(random: RandomStream): Uint8Array;
  /**
   * Gives it to the code. A {@linkcode UserError} or a {@linkcode MachineError} that it throws refuses the input; any other error
   * is a fault.
   *
   * @param folder A fresh one, to be left as it is
   */
  use(input: Uint8Array, folder: string): Promise<Verdict>;
}

/** What an error of {@linkcode Fuzzer.use} means: null for a refusal, or the fault. */
export function faultOf(error: unknown): string | null {
  if (error instanceof UserError || error instanceof MachineError) {
    return error.message.length > MOST_MESSAGE ? `a message of ${error.message.length} characters` : null;
  }
  if (!(error instanceof Error)) return `threw ${String(error)}`;
  const [, place = ""] = /(lib\/[\w/.]+:\d+)/.exec(error.stack ?? "") ?? [];
  return `${error.name}: ${error.message.slice(0, 200)}${place === "" ? "" : ` (${place})`}`;
}

/** Of a message: fifty problems, each with values and names cut short. */
const MOST_MESSAGE = 100_000;
