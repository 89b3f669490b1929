// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task mutants`: makes the wrong changes of tests/mutants one at a time in a copy of the checkout, runs the tests that
 * must notice, and prints how many did, by area. Fails when one went unseen.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { MUTANTS } from "../tests/mutants/all.ts";
import { type Mutant, mutate } from "../tests/mutants/mutant.ts";
import { formatTable } from "../lib/report/table.ts";
import { helpIfAsked } from "./help.ts";
import { type NativeBuild, openNativeBuild } from "./mutants/native_build.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
/** A change that makes its tests run for longer than this has been noticed. */
const LIMIT_MS = 300_000;

/** What became of a mutant. */
type Verdict = "noticed" | "unseen" | "does not compile" | "tests fail without it";

interface Options {
  readonly areas: readonly string[];
  readonly only: readonly string[];
}

function readOptions(args: readonly string[]): Options {
  const valuesOf = (flag: string) => args.flatMap((arg, i) => args[i - 1] === flag ? arg.split(",") : []);
  const chosen = { areas: valuesOf("--area"), only: valuesOf("--only") };
  const areas = chosen.areas.length > 0 ? chosen.areas : Object.keys(MUTANTS);
  const named = areas.flatMap((area) => (MUTANTS[area] ?? []).map(({ name }) => name));
  refuseUnknown("area", chosen.areas, Object.keys(MUTANTS));
  refuseUnknown("wrong change", chosen.only, named);
  return { areas, only: chosen.only };
}

/** Ends the process when a name is none of those there are. */
function refuseUnknown(what: string, names: readonly string[], known: readonly string[]): void {
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  console.error(`There is no ${what} ${unknown.join(", ")}; there are ${known.join(", ")}`);
  Deno.exit(2);
}

/** A copy of what git tracks or would track, as it stands in the checkout; its build folder is the checkout's. */
async function copyCheckout(to: string): Promise<void> {
  const { stdout } = await new Deno.Command("git", {
    args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd: ROOT,
  }).output();
  for (const name of new TextDecoder().decode(stdout).split("\0").filter((name) => name !== "")) {
    await Deno.mkdir(join(to, dirname(name)), { recursive: true });
    await Deno.copyFile(join(ROOT, name), join(to, name)).catch((error: Error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // removed, not yet committed
    });
  }
}

/** Whether tests pass in the copy, with the library that it names. */
async function pass(copy: string, { tests }: Mutant, library: string): Promise<boolean> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--quiet", "--no-check", "--allow-all", "--fail-fast", ...tests],
    cwd: copy,
    env: { MEFT_LIB: library },
    stdout: "null",
    stderr: "null",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const { success } = await child.status;
  clearTimeout(timer);
  return success;
}

/** Judges mutants in a copy of the checkout, where those of csrc are compiled as they come. */
function createJudge(copy: string): (mutant: Mutant) => Promise<Verdict> {
  const sound = new Map<string, boolean>();
  const built = join(ROOT, "build/cpu/libmeft.so");
  let native: NativeBuild | null = null;
  return async (mutant) => {
    const isNative = mutant.file.startsWith("csrc/");
    if (isNative) native ??= await openNativeBuild(ROOT, copy);
    const library = isNative ? built : Deno.env.get("MEFT_LIB") ?? built;
    const key = `${library} ${mutant.tests.join(" ")}`;
    if (!sound.has(key)) sound.set(key, await pass(copy, mutant, library));
    if (!sound.get(key)) return "tests fail without it";
    const path = join(copy, mutant.file);
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, mutate(mutant, text));
    try {
      if (isNative && !(await native!.build(mutant.file))) return "does not compile";
      return await pass(copy, mutant, isNative ? native!.library : library) ? "unseen" : "noticed";
    } finally {
      await Deno.writeTextFile(path, text);
    }
  };
}

async function main(): Promise<number> {
  const { areas, only } = readOptions(Deno.args);
  const copy = await Deno.makeTempDir({ prefix: "mutants-" });
  const judge = createJudge(copy);
  const rows: string[][] = [];
  let [noticed, all] = [0, 0];
  try {
    await copyCheckout(copy);
    for (const area of areas) {
      const mutants = (MUTANTS[area] ?? []).filter(({ name }) => only.length === 0 || only.includes(name));
      let noticedHere = 0;
      for (const mutant of mutants) {
        const start = performance.now();
        const verdict = await judge(mutant);
        if (verdict === "noticed") noticedHere++;
        const seconds = ((performance.now() - start) / 1000).toFixed(1);
        console.log(
          `${verdict.padEnd(8)} ${area} ${mutant.name} (${seconds} s)${
            verdict === "noticed" ? "" : `: ${mutant.harm}`
          }`,
        );
      }
      if (mutants.length > 0) rows.push([area, `${noticedHere} of ${mutants.length}`]);
      noticed += noticedHere;
      all += mutants.length;
    }
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
  console.log(`\n${formatTable([["area", "noticed"], ...rows, ["all", `${noticed} of ${all}`]])}`);
  return noticed === all ? 0 : 1;
}

if (import.meta.main) {
  helpIfAsked("mutants");
  Deno.exit(await main());
}
