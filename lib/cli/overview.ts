// SPDX-License-Identifier: Apache-2.0
/** What there is to run, in one look. */
import { formatTable } from "../report/table.ts";
import type { CommandSpec } from "./program.ts";

/** All commands with what they do, for someone who named none. */
export function formatCommands(commands: readonly CommandSpec[]): string {
  const rows = commands.map(({ name, summary }) => [`deno task ${name}`, summary]);
  return `${
    formatTable([["command", "what it does"], ...rows])
  }\n\ndeno task <command> --help has its flags and examples.`;
}
