// SPDX-License-Identifier: Apache-2.0
/** Where a command writes: people's text to stdout, or to stderr when stdout carries one JSON object. */
import type { ProgressOutput } from "../report/progress.ts";

/** A command's way out. */
export interface Output extends ProgressOutput {
  readonly json: boolean;
  readonly color: boolean;
  /** Text for people. */
  line(text: string): void;
  /** The command's result as one JSON object on stdout, with --json. */
  result(value: unknown): void;
}

const encoder = new TextEncoder();

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = encoder.encode(text);
  for (let offset = 0; offset < bytes.length;) offset += stream.writeSync(bytes.subarray(offset));
}

/** Numbers that JSON cannot carry become text: "NaN" is better read than null. */
function jsonSafe(_key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
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
  const write = (text: string) => {
    if (!options.quiet) writeAll(stream, text);
  };
  return {
    json: options.json,
    color: isTerminal && !Deno.noColor,
    isTerminal,
    columns: isTerminal ? terminalColumns() : null,
    write,
    line: (text) => write(`${text}\n`),
    result: (value) => {
      if (options.json) writeAll(Deno.stdout, `${JSON.stringify(value, jsonSafe)}\n`);
    },
  };
}
