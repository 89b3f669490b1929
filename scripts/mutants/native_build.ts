// SPDX-License-Identifier: Apache-2.0
/**
 * The native libraries with one changed file of csrc: the objects that read the file are compiled from the copy, all
 * others are those of the checkout's build. Seconds, where a build of the copy would take minutes.
 */
import { dirname, join } from "node:path";
import { buildInfo, openAt } from "../../lib/native/library.ts";
import { build, buildTarget, RELEASE } from "../build.ts";

/** What tests open, from the build folder. */
const LIBRARIES = ["libmeft.so", "libmeft_cuda_emulated.so"];

/** Libraries of a copy of the checkout. */
export interface NativeBuild {
  /** What MEFT_LIB must name. */
  readonly library: string;
  /** Builds with a file of the copy, named from the root. False when it does not compile. */
  build(file: string): Promise<boolean>;
}

/** How one object file is made. */
interface Compilation {
  readonly object: string;
  readonly command: string;
  /** Every file that it is made from. */
  readonly sources: ReadonlySet<string>;
}

/**
 * Builds the checkout, so that its objects may be linked.
 *
 * @param root The checkout
 * @param copy A copy of it, whose build folder this fills
 * @throws {Error} When the build folder is not one of Ninja's, which alone tells what an object is made from
 */
export async function openNativeBuild(root: string, copy: string): Promise<NativeBuild> {
  const [from, to] = [RELEASE.folder, RELEASE.folder].map((folder, i) =>
    join(i === 0 ? root : copy, folder)
  ) as [
    string,
    string,
  ];
  await build();
  await buildTarget("meft_cuda_emulated");
  const compilations = await listCompilations(from);
  const links = new Map<string, string>();
  for (const library of LIBRARIES) links.set(library, (await ninja(from, "commands", "-s", library)).trim());
  await Deno.mkdir(to, { recursive: true });
  return {
    library: join(to, "libmeft.so"),
    async build(file) {
      const source = join(root, file);
      const changed = compilations.filter(({ sources }) => sources.has(source));
      const made = new Map(changed.map(({ object }) => [object, join(to, object)]));
      const commands = changed.map(({ command, object }) =>
        replaceWords(
          command.replaceAll(join(root, "csrc"), join(copy, "csrc")),
          new Map([[object, made.get(object)!]]),
        )
      );
      for (const path of made.values()) await Deno.mkdir(dirname(path), { recursive: true });
      if (!await runAll(commands, from)) return false;
      for (const [library, command] of links) {
        const path = join(to, library);
        await Deno.remove(path).catch(() => {}); // of the mutant before
        const words = command.split(" ");
        if (words.some((word) => made.has(word))) {
          if (!await runAll([replaceWords(command, new Map([...made, [library, path]]))], from)) return false;
        } else {
          await Deno.symlink(join(from, library), path);
        }
      }
      return true;
    },
  };
}

function replaceWords(command: string, by: ReadonlyMap<string, string>): string {
  return command.split(" ").map((word) => by.get(word) ?? word).join(" ");
}

/** Objects that this machine can run: tests see nothing of the others. */
async function listCompilations(folder: string): Promise<Compilation[]> {
  const { compiledTargets, machineTargets } = buildInfo(openAt(join(folder, "libmeft.so")));
  const idle = compiledTargets.filter((target) => !machineTargets.includes(target));
  const sources = readDependencies(await ninja(folder, "deps"));
  const all: { output: string; command: string }[] = JSON.parse(await ninja(folder, "compdb"));
  return all.flatMap(({ output, command }) => {
    const known = sources.get(output);
    if (known === undefined || command.includes("nvcc")) return [];
    if (idle.some((target) => output.includes(`/meft_${target}.dir/`))) return [];
    return [{ object: output, command, sources: known }];
  });
}

/** What `ninja -t deps` says: `OBJECT: #deps …`, then a line for each file. */
function readDependencies(text: string): Map<string, Set<string>> {
  const all = new Map<string, Set<string>>();
  let last = new Set<string>();
  for (const line of text.split("\n")) {
    if (line.startsWith("    ")) {
      last.add(line.trim());
    } else if (line.includes(": #deps ")) {
      last = new Set();
      all.set(line.slice(0, line.indexOf(": #deps ")), last);
    }
  }
  return all;
}

async function ninja(folder: string, tool: string, ...args: string[]): Promise<string> {
  const command = new Deno.Command("ninja", { args: ["-C", folder, "-t", tool, ...args], stderr: "piped" });
  const { success, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  if (!success) {
    throw new Error(`Mutants of csrc need a build by Ninja in ${folder}: ${decoder.decode(stderr).trim()}`);
  }
  return decoder.decode(stdout).replace(/^ninja: Entering directory.*\n/, "");
}

/** Whether all shell commands succeed; as many at once as there are cores. */
async function runAll(commands: readonly string[], cwd: string): Promise<boolean> {
  const queue = [...commands];
  let success = true;
  const work = async () => {
    for (let command = queue.pop(); command !== undefined && success; command = queue.pop()) {
      const child = new Deno.Command("sh", { args: ["-c", command], cwd, stdout: "null", stderr: "null" })
        .spawn();
      if (!(await child.status).success) success = false;
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, work));
  return success;
}
