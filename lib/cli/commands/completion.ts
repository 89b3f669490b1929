// SPDX-License-Identifier: Apache-2.0
/** `deno task completion`: a script that lets a shell complete commands, flags and choices. */
import { throwIfAny } from "../../core/errors.ts";
import { formatCompletion, SHELLS } from "../completion.ts";
import type { FlagValues } from "../flags/flags.ts";
import type { Output } from "../output.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";

/** The command. @param commands All there are, itself among them */
export function completionCommand(commands: () => readonly CommandSpec[]): CommandSpec {
  return {
    name: "completion",
    summary: "Prints a script that lets bash, zsh or fish complete these commands, their flags and choices.",
    examples: [
      "deno task --quiet completion bash >> ~/.bashrc",
      "deno task --quiet completion zsh >> ~/.zshrc",
      "deno task --quiet completion fish > ~/.config/fish/conf.d/meft.fish",
    ],
    flags: [],
    argument: { name: "shell", kind: "text", choices: SHELLS, help: SHELLS.join(", ") },
    run: (values, output) => Promise.resolve(printScript(values, output, commands())),
  };
}

function printScript(values: FlagValues, output: Output, commands: readonly CommandSpec[]): number {
  throwIfAny("The command line of completion", [
    ...(values.shell === undefined ? [`a shell is needed: ${SHELLS.join(", ")}`] : []),
  ]);
  const shell = values.shell as (typeof SHELLS)[number];
  const script = formatCompletion(shell, commands);
  output.write(script);
  output.result({ shell, script });
  return EXIT.done;
}
