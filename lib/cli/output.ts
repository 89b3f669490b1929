// SPDX-License-Identifier: Apache-2.0
/** Where a command writes: people's text to stdout, or to stderr when stdout carries one JSON object. */
import { UserError } from "../core/errors.ts";
import type { ProgressOutput } from "../report/progress.ts";

/** A command's way out. */
export interface Output extends ProgressOutput {
  readonly json: boolean;
  readonly color: boolean;
  /** Text for people. */
  line(text: string): void;
  /** The command's result as one JSON object on stdout, with --json. */
  result(value: unknown): void;
  /** Why text was lost although somebody may want it; null while none was. Whoever has stopped reading wants no more. */
  lostText(): string | null;
}

const encoder = new TextEncoder();

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = encoder.encode(text);
  for (let offset = 0; offset < bytes.length;) offset += stream.writeSync(bytes.subarray(offset));
}

/** Whether whoever read a stream has gone: a pipe's reader ended, or the terminal was closed. */
function readerIsGone(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return code === "EPIPE" || code === "EIO";
}

/** Integers of the native library become numbers. (What is no finite number is null in JSON, never text.) */
function jsonSafe(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value;
}

/** Null when the terminal does not say, as some that record sessions do not. */
function terminalColumns(): number | null {
  try {
    return Deno.consoleSize().columns || null;
  } catch {
    return null;
  }
}

/** The output of one command. */
export function createOutput(options: { readonly json: boolean; readonly quiet: boolean }): Output {
  const stream = options.json ? Deno.stderr : Deno.stdout;
  const isTerminal = stream.isTerminal();
  let failure: unknown = null;
  const write = (text: string) => {
    if (options.quiet || failure !== null) return;
    try {
      writeAll(stream, text);
    } catch (error) {
      // A run of days does not end because a window did, or because its log has no room.
      failure = error;
    }
  };
  return {
    json: options.json,
    color: isTerminal && !Deno.noColor,
    isTerminal,
    columns: isTerminal ? terminalColumns() : null,
    write,
    line: (text) => write(`${text}\n`),
    result: (value) => {
      if (!options.json) return;
      try {
        writeAll(Deno.stdout, `${JSON.stringify(value, jsonSafe)}\n`);
      } catch (error) {
        throw new UserError(`The work is done, but its JSON object could not be written: ${error}`);
      }
    },
    lostText: () => failure === null || readerIsGone(failure) ? null : String(failure),
  };
}
