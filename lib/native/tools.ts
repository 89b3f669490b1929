// SPDX-License-Identifier: Apache-2.0
/** Programs outside this process: which ones a build needs, and whether they are there. */

/** A program that a build needs: any one of the commands will do. */
export interface Tool {
  readonly commands: readonly string[];
  readonly debianPackage: string;
}

/** What building libmeft needs. */
export const BUILD_TOOLS: readonly Tool[] = [
  { commands: ["cmake"], debianPackage: "cmake" },
  { commands: ["c++", "g++", "clang++"], debianPackage: "g++" },
  { commands: ["ninja", "make"], debianPackage: "ninja-build" },
];

/** The tools of a list that are not there. */
export async function missingTools(tools: readonly Tool[] = BUILD_TOOLS): Promise<Tool[]> {
  const found = await Promise.all(tools.map((tool) => firstCommand(tool.commands)));
  return tools.filter((_, i) => found[i] === null);
}

/** The sentence that says what is missing and how to get it all at once. */
export function missingToolsText(missing: readonly Tool[]): string {
  const names = missing.map((tool) => tool.commands.join(" or ")).join(", ");
  return `${names} not found. On Debian or Ubuntu: ${installText(missing.map((tool) => tool.debianPackage))}`;
}

/** The command that installs Debian packages. */
export function installText(packages: readonly string[]): string {
  return `apt-get install -y ${packages.join(" ")}`;
}

/** The first of the commands that runs. */
export async function firstCommand(commands: readonly string[]): Promise<string | null> {
  for (const command of commands) if (await outputOf(command, ["--version"]) !== null) return command;
  return null;
}

/** What a command writes on stdout; null when it is not there, may not be run, or fails. */
export async function outputOf(command: string, args: readonly string[]): Promise<string | null> {
  try {
    const child = startProgram(command, { args: [...args], stdout: "piped", stderr: "piped" });
    const { success, stdout } = await child.output();
    return success ? new TextDecoder().decode(stdout) : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return null;
    if (error instanceof Deno.errors.PermissionDenied) return null; // a file of that name that is no program
    throw error;
  }
}

/** How Deno says that variables which change what a program loads may not be handed on by who may run some programs only. */
const LOADER_VARIABLES = /to spawn subprocess with (.+?) environment variables?\./;

/**
 * Starts a program. Where permissions name the programs that may run, those variables of the dynamic loader that are set are
 * empty for it: else Deno would start none of them.
 *
 * @throws {Deno.errors.NotCapable} When it may not be run
 */
export function startProgram(command: string, options: Deno.CommandOptions): Deno.ChildProcess {
  try {
    return new Deno.Command(command, options).spawn();
  } catch (error) {
    const names = error instanceof Deno.errors.NotCapable && LOADER_VARIABLES.exec(error.message)?.[1];
    if (!names) throw error;
    const empty = Object.fromEntries(names.split(", ").map((name) => [name, ""]));
    return new Deno.Command(command, { ...options, env: { ...options.env, ...empty } }).spawn();
  }
}

/** This Deno, by the name that it may be run by: a permission for `deno` is one for that name where that is a link. */
export function denoProgram(): string {
  const path = Deno.execPath();
  return Deno.permissions.querySync({ name: "run", command: path }).state === "granted" ? path : "deno";
}
