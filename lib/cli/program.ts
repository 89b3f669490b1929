// SPDX-License-Identifier: Apache-2.0
/** The command line: parses, runs one command, and turns every failure into a message and an exit code. */
import { Argument, Command, CommanderError } from "commander";
import { text, toggle } from "../core/options.ts";
import { throwIfAny } from "../core/errors.ts";
import { EXIT, reportFailure } from "./failure.ts";
import { overlay, readConfigFile, readFlags } from "./flags/sources.ts";
import { declareFlags, type Flag, flagsOf, type FlagValues } from "./flags/flags.ts";
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

/** Flags of every command. */
export const COMMON_FLAGS: readonly Flag[] = flagsOf({
  config: text({ path: true, help: "JSON file with the same keys as the flags; flags win" }),
  json: toggle({
    help: "print one JSON object on stdout at the end, also when it fails, all else on stderr",
  }),
  quiet: toggle({ help: "print nothing but errors and the JSON object" }),
});

/** @mutates problems */
function readValues(command: Command, spec: CommandSpec, problems: string[]): FlagValues {
  const flags = [...spec.flags, ...COMMON_FLAGS];
  const given = readFlags(command, flags, problems, spec.argument);
  const fromFile = typeof given.config === "string" ? readConfigFile(given.config, flags, problems) : {};
  const values = overlay(flags, fromFile, given);
  problems.push(...spec.check?.(values) ?? []);
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

/** Runs a command with its arguments. Returns the exit code. */
export async function runCommand(spec: CommandSpec, args: readonly string[]): Promise<number> {
  const command = createCommand(spec);
  let json = args.includes("--json");
  try {
    command.parse([...args], { from: "user" });
    const problems: string[] = [];
    const values = readValues(command, spec, problems);
    json = values.json === true;
    throwIfAny(`The command line of ${spec.name}`, problems);
    const output = createOutput({ json, quiet: values.quiet === true });
    const code = await spec.run(values, output);
    const lost = output.lostText();
    if (lost === null) return code;
    printError(`Some of the text above could not be written: ${lost}`);
    return code === EXIT.done ? EXIT.failed : code;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done; // --help
    return reportFailure(error, json);
  }
}
