// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task asan`: builds libmeft with AddressSanitizer and UndefinedBehaviorSanitizer and runs the tests that
 * call it, with the sanitizers' runtimes loaded before Deno. Leaks are not looked for: V8 frees nothing at exit.
 */
import { fileURLToPath } from "node:url";
import { type BuildOptions, ensureBuilt } from "./build.ts";
import { helpIfAsked } from "./help.ts";

const SANITIZED: BuildOptions = { folder: "build/asan", define: ["-DMEFT_SANITIZE=ON"], target: "tested" };
const TESTS = ["tests/contract", "tests/native"];

/** Path of a compiler's runtime library. */
async function runtime(name: string): Promise<string> {
  const { stdout } = await new Deno.Command("c++", { args: [`-print-file-name=${name}`] }).output();
  return new TextDecoder().decode(stdout).trim();
}

async function main(args: readonly string[]): Promise<number> {
  await ensureBuilt(SANITIZED);
  const preload = [await runtime("libasan.so"), await runtime("libubsan.so")].join(":");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--quiet", ...(args.length > 0 ? args : TESTS)],
    env: {
      LD_PRELOAD: preload,
      ASAN_OPTIONS: "detect_leaks=0:handle_segv=0",
      UBSAN_OPTIONS: "print_stacktrace=1",
      MEFT_LIB: fileURLToPath(new URL("../build/asan/libmeft.so", import.meta.url)),
    },
  }).spawn();
  return (await child.status).code;
}

if (import.meta.main) {
  helpIfAsked("asan");
  Deno.exit(await main(Deno.args));
}
