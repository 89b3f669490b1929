// SPDX-License-Identifier: Apache-2.0
/** Entry of the tasks that users run: `deno task train …` is `meft.ts train …`. Builds the library when it is stale. */
import { COMMANDS } from "../lib/cli/commands/registry.ts";
import { formatCommands } from "../lib/cli/overview.ts";
import { reportFailure } from "../lib/cli/failure.ts";
import { printError } from "../lib/cli/output.ts";
import { runCommand } from "../lib/cli/program.ts";
import { UserError } from "../lib/core/errors.ts";
import { didYouMean } from "../lib/core/suggestion.ts";
import { surviveFileSizeLimit } from "../lib/files/size_limit.ts";
import { ensureBuilt, RELEASE } from "./build.ts";
import { useTokenizersBinary } from "./tokenizers_binary.ts";

/** Commands that work without the native library, and those without the tokenizers' too. */
const WITHOUT_LIBRARY = ["preview", "doctor", "report", "completion"];
const WITHOUT_TOKENIZERS = ["doctor", "report", "completion"];

surviveFileSizeLimit();
const [name = "", ...args] = Deno.args;
const asksHelp = (words: readonly string[]) => words.includes("--help") || words.includes("-h");
if (asksHelp([name])) {
  console.log(formatCommands(COMMANDS));
  Deno.exit(0);
}
const json = args.includes("--json");
const spec = COMMANDS.find((command) => command.name === name);
if (spec === undefined) {
  const names = COMMANDS.map((command) => command.name);
  const message = `"${name}" is no command${didYouMean(name, names)}`;
  const exitCode = reportFailure(new UserError(message), json);
  printError(`\n${formatCommands(COMMANDS)}`);
  Deno.exit(exitCode);
}
const needs = (without: readonly string[]) => !without.includes(name) || args.includes("--methods");
if (!asksHelp(args)) {
  if (needs(WITHOUT_LIBRARY)) await ensureBuilt(RELEASE, json);
  try {
    if (needs(WITHOUT_TOKENIZERS)) await useTokenizersBinary();
  } catch (error) {
    Deno.exit(reportFailure(error, json));
  }
}
Deno.exit(await runCommand(spec, args));
