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
    const { success, stdout } = await new Deno.Command(command, { args: [...args], stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout) : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return null;
    if (error instanceof Deno.errors.PermissionDenied) return null; // a file of that name that is no program
    throw error;
  }
}
