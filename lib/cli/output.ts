// SPDX-License-Identifier: Apache-2.0
/**
 * Where a command writes: people's text to stdout, or to stderr when stdout carries one JSON object. Nothing else in this
 * folder writes to a terminal, so that text of models, data and files cannot drive one: it leaves here visible.
 */
import { MachineError } from "../core/errors.ts";
import { formatTerminalText, type TerminalText, visibleLine, visibleText } from "../core/visible_text.ts";
import type { ProgressOutput } from "../report/progress.ts";

/** A command's way out. */
export interface Output extends ProgressOutput {
  readonly json: boolean;
  readonly color: boolean;
  /** Text for people. */
  line(text: TerminalText): void;
  /** What a model said, for people and programs: byte for byte in a file or pipe, visible as all text on a terminal. */
  verbatim(text: string): void;
  /** The command's result as one JSON object on stdout, with --json. */
  result(value: unknown): void;
  /** Why text was lost although somebody may want it; null while none was. Whoever has stopped reading wants no more. */
  lostText(): string | null;
}

/** Back to the start of the line, and empty. */
const ERASE_LINE = "\r\x1b[2K";

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

/** Says what failed, or that something did, on stderr; where that is closed, nobody can be told. */
export function printError(text: string): void {
  try {
    writeAll(Deno.stderr, `${visibleText(text)}\n`);
  } catch {
    // The message was all there was left to do.
  }
}

/** Says what is worth knowing on stderr, so that it is seen whatever the command prints. */
export function warn(text: string): void {
  printError(`Warning: ${visibleLine(text)}`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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
  const writeRaw = (text: string) => {
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
    write: (text) => writeRaw(visibleText(text)),
    eraseLine: () => writeRaw(ERASE_LINE),
    line: (text) => writeRaw(`${formatTerminalText(text)}\n`),
    verbatim: (text) => writeRaw(isTerminal ? visibleText(text) : text),
    result: (value) => {
      if (!options.json) return;
      try {
        // Somebody may look at it: what JSON leaves as it is, DEL and the bidirectional marks among it, is escaped too.
        writeAll(Deno.stdout, `${visibleLine(JSON.stringify(value, jsonSafe))}\n`);
      } catch (error) {
        throw new MachineError(
          `The work is done, but its JSON object could not be written: ${messageOf(error)}`,
        );
      }
    },
    lostText: () => failure === null || readerIsGone(failure) ? null : messageOf(failure),
  };
}
