// SPDX-License-Identifier: Apache-2.0
/** Runs the command line as a user does, in a process of its own. */

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** What a command left behind. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The demo's files. */
export const DEMO_MODEL = `${ROOT}notebooks/demo/model`;
export const DEMO_FACTS = `${ROOT}notebooks/demo/facts.jsonl`;

/** Starts a command; its output is piped, its input empty unless that is too. */
export function spawn(args: readonly string[], stdin: "null" | "piped" = "null"): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", `${ROOT}scripts/meft.ts`, ...args],
    stdin,
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
}

/** Runs a command to its end. */
export function runCommandLine(...args: string[]): Promise<CommandResult> {
  return resultOf(spawn(args));
}

/** Runs a command to its end with text on its standard input. */
export async function spawnWithInput(args: readonly string[], input: string): Promise<CommandResult> {
  const child = spawn(args, "piped");
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  return await resultOf(child);
}

async function resultOf(child: Deno.ChildProcess): Promise<CommandResult> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Flags of a run that takes a second. */
export const SMALL_RUN = [
  "--model",
  DEMO_MODEL,
  "--data",
  DEMO_FACTS,
  "--seq-len",
  "64",
  "--neurons",
  "64",
  "--top-k",
  "16",
  "--batch-size",
  "8",
] as const;

/** {@linkcode SMALL_RUN} with other values of its flags. */
export function smallRunWith(values: Readonly<Record<string, string>>): string[] {
  return SMALL_RUN.map((text, i) => values[SMALL_RUN[i - 1]?.replace("--", "") ?? ""] ?? text);
}
