// SPDX-License-Identifier: Apache-2.0
/** The command line: parses, runs one command, and turns every failure into a message and an exit code. */
import { Argument, Command, CommanderError } from "commander";
import { NativeError, PlainError, throwIfAny, UserError } from "../core/errors.ts";
import { isRefusedArray, MEMORY_WAY_OUT, requireStartMemory } from "../native/host_memory.ts";
import { isDefect } from "../native/status.ts";
import { readConfigFile, readFlags } from "./flag_sources.ts";
import { declareFlags, type Flag, type FlagValues } from "./flags.ts";
import { createOutput, type Output, printError } from "./output.ts";

/** One subcommand. */
export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  readonly examples: readonly string[];
  readonly flags: readonly Flag[];
  /** What may stand without a flag; its value has the name of this one. */
  readonly argument?: Flag;
  /** What is wrong with values that are well-formed one by one: a sentence each. */
  check?(values: FlagValues): readonly string[];
  /** Does the work. Returns the exit code: {@linkcode EXIT}. */
  run(values: FlagValues, output: Output): Promise<number>;
}

/** Exit codes: 0 only when the work was done, 2 for a user's mistake, 130 after an interrupt. */
export const EXIT = { done: 0, failed: 1, userMistake: 2, interrupted: 130 } as const;

/** Flags of every command. */
export const COMMON_FLAGS: readonly Flag[] = [
  { name: "config", kind: "text", help: "JSON file with the same keys as the flags; flags win" },
  { name: "json", kind: "switch", help: "print one JSON object on stdout at the end, all else on stderr" },
  { name: "quiet", kind: "switch", help: "print nothing but errors and the JSON object" },
];

function readValues(command: Command, spec: CommandSpec): FlagValues {
  const flags = [...spec.flags, ...COMMON_FLAGS];
  const problems: string[] = [];
  const given = readFlags(command, flags, problems, spec.argument);
  const fromFile = typeof given.config === "string" ? readConfigFile(given.config, flags, problems) : {};
  const values = { ...fromFile, ...given };
  problems.push(...spec.check?.(values) ?? []);
  throwIfAny(`The command line of ${spec.name}`, problems);
  return values;
}

function createCommand(spec: CommandSpec): Command {
  const command = new Command(`deno task ${spec.name}`).description(spec.summary).exitOverride();
  declareFlags(command, [...spec.flags, ...COMMON_FLAGS]);
  if (spec.argument) command.addArgument(new Argument(`[${spec.argument.name}]`, spec.argument.help));
  if (spec.examples.length > 0) {
    command.addHelpText("after", `\nExamples:\n${spec.examples.map((example) => `  ${example}`).join("\n")}`);
  }
  return command.configureOutput({ outputError: () => {} });
}

/** The message a user sees. What is no defect of the program shows no stack; anything else does, for a report. */
function describeFailure(error: unknown): string {
  // What may not be done here is no defect either: Deno's message names it and the flag that allows it.
  const isPlain = [PlainError, CommanderError, Deno.errors.NotCapable].some((kind) => error instanceof kind);
  if (isPlain || error instanceof NativeError && !isDefect(error)) return (error as Error).message;
  if (isRefusedArray(error)) return `Not enough memory for an array; ${MEMORY_WAY_OUT}`;
  if (!(error instanceof Error)) return String(error);
  if (/\(os error \d+\)/.test(error.message)) return error.message; // the system's refusal, whoever met it
  const cause = error.cause instanceof Error ? `\ncaused by: ${error.cause.message}` : "";
  return `${error.stack ?? error.message}${cause}`;
}

/** Runs a command with its arguments. Returns the exit code. */
export async function runCommand(spec: CommandSpec, args: readonly string[]): Promise<number> {
  const command = createCommand(spec);
  try {
    command.parse([...args], { from: "user" });
    const values = readValues(command, spec);
    requireStartMemory();
    const output = createOutput({ json: values.json === true, quiet: values.quiet === true });
    const code = await spec.run(values, output);
    const lost = output.lostText();
    if (lost === null) return code;
    printError(`Some of the text above could not be written: ${lost}`);
    return code === EXIT.done ? EXIT.failed : code;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done; // --help
    printError(describeFailure(error).replace(/^error: /, ""));
    return error instanceof UserError || error instanceof CommanderError ? EXIT.userMistake : EXIT.failed;
  }
}
