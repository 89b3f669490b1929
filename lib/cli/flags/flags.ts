// SPDX-License-Identifier: Apache-2.0
/**
 * Options as flags: one table a command, from which come the help, the parser, the config file's keys and every message.
 */
import { type Command, Option } from "commander";
import { withDefaults } from "../../core/option_checks.ts";
import { type ReadValue, SEVERAL } from "../../core/option_values.ts";
import {
  defaultText,
  kebabCase,
  type OptionSchema,
  type OptionsOf,
  type OptionSpec,
} from "../../core/options.ts";

/** One flag. */
export interface Flag extends OptionSpec {
  /** Kebab-case, without the dashes. */
  readonly name: string;
  /** Methods the flag makes sense for; absent: all. */
  readonly methods?: readonly string[];
}

/** The options of a schema as flags. */
export function flagsOf(schema: OptionSchema): Flag[] {
  return Object.entries(schema).map(([name, spec]) => ({ ...spec, name: spec.flag ?? kebabCase(name) }));
}

/** Whether a flag stands alone, and has no value behind it. */
export function isBare({ kind, choices }: OptionSpec): boolean {
  return kind === "switch" && choices === undefined;
}

/** Values by flag name; a flag that was not given is absent. */
export type FlagValues = Readonly<Record<string, ReadValue>>;

/** The values of a schema's flags, by the options' names, over the constants that stand where flags are left out. */
export function valuesOf<S extends OptionSchema>(schema: S, values: FlagValues) {
  const entries = Object.entries(schema).map(([name, spec]) => [name, values[spec.flag ?? kebabCase(name)]]);
  return withDefaults(schema, Object.fromEntries(entries) as OptionsOf<S>);
}

/** What a reader of the help sees in place of the value. */
function placeholder(flag: Flag): string {
  if (flag.kind === "switch") return flag.choices ? ` [${flag.choices.join("|")}]` : "";
  const kinds = {
    text: "text",
    texts: "text",
    integer: "number",
    integers: "number",
    indices: "number",
    number: "number",
    numbers: "KEY=NUMBER",
    values: "text",
    pairs: "KEY=VALUE",
  };
  const what = flag.placeholder ?? flag.choices?.join("|") ?? kinds[flag.kind];
  return ` <${what}${SEVERAL.has(flag.kind) ? "..." : ""}>`;
}

/**
 * Adds the flags to a command, for its help and its parser. Values arrive as text, those of a flag that takes one as a list of
 * all that were given, and are checked by `readFlags`.
 */
export function declareFlags(command: Command, flags: readonly Flag[]): Command {
  for (const flag of flags) {
    const standing = defaultText(flag);
    const help = standing === null ? flag.help : `${flag.help} (default: ${standing})`;
    const option = new Option(`--${flag.name}${placeholder(flag)}`, help);
    if (!isBare(flag) && !SEVERAL.has(flag.kind)) {
      option.argParser((value, before: readonly string[] | undefined) => [...before ?? [], value]);
    }
    command.addOption(option);
  }
  return command.allowUnknownOption().allowExcessArguments();
}
