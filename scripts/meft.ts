// SPDX-License-Identifier: Apache-2.0
/** Entry of the tasks that users run: `deno task train …` is `meft.ts train …`. Builds the library when it is stale. */
import { COMMANDS } from "../lib/cli/commands.ts";
import { runCommand } from "../lib/cli/program.ts";
import { ensureBuilt } from "./build.ts";

const [name = "", ...args] = Deno.args;
const spec = COMMANDS.find((command) => command.name === name);
if (spec === undefined) {
  console.error(`"${name}" is no command; there are ${COMMANDS.map((command) => command.name).join(", ")}`);
  Deno.exit(2);
}
const needsLibrary = spec.name !== "doctor" || args.includes("--methods");
if (needsLibrary && !args.includes("--help") && !args.includes("-h")) await ensureBuilt();
Deno.exit(await runCommand(spec, args));
