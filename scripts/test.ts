// SPDX-License-Identifier: Apache-2.0
/** `deno task test`: builds the library, runs every test, and ends with one line that says how many ran. */
import { ensureBuilt } from "./build.ts";

/** What `deno test` says at its end. */
const SUMMARY = /(\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed(?: \(\d+ steps?\))?(?: \| (\d+) ignored)?/;

/** Runs `deno test`, passing its output on. Returns its exit code and its closing counts. */
async function runTests(args: readonly string[]): Promise<{ code: number; summary: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--quiet", ...args],
    stdout: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  let tail = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    await Deno.stdout.write(chunk);
    tail = (tail + decoder.decode(chunk, { stream: true })).slice(-4000);
  }
  const { code } = await child.status;
  const [, passed = "0", failed = "0", skipped = "0"] = SUMMARY.exec(tail) ?? [];
  return { code, summary: `${passed} passed, ${failed} failed, ${skipped} skipped` };
}

/** Runs the tests named, or all of them with the examples of the documentation. */
export async function test(args: readonly string[]): Promise<number> {
  await ensureBuilt();
  const { code, summary } = await runTests(
    args.length > 0 ? args : ["--doc", "README.md", "mod.ts", "lib", "tests"],
  );
  console.log(summary);
  return code === 0 && summary.startsWith("0 passed") ? 1 : code;
}

if (import.meta.main) Deno.exit(await test(Deno.args));
