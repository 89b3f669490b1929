// SPDX-License-Identifier: Apache-2.0
/** The command line on a terminal, as `script` of util-linux makes one. */
import { strictEqual } from "node:assert/strict";
import { commandLine } from "./command.ts";

/** All that a command wrote on its terminal. */
export async function onTerminal(
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  code = 0,
): Promise<string> {
  const line = commandLine(args).map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const { NO_COLOR: _, ...inherited } = Deno.env.toObject(); // tests may run without colours themselves
  const ended = await new Deno.Command("script", {
    args: ["--quiet", "--return", "--command", line, "/dev/null"],
    clearEnv: true,
    env: { ...inherited, TERM: "xterm-256color", ...env },
    stdin: "null",
    stderr: "inherit",
  }).output();
  const text = new TextDecoder().decode(ended.stdout);
  strictEqual(ended.code, code, text);
  return text;
}
