// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task asan`: builds libmeft with AddressSanitizer and UndefinedBehaviorSanitizer and runs the tests that
 * call it, with the sanitizers' runtimes loaded before Deno. Leaks are not looked for: V8 frees nothing at exit.
 * Every file has a process of its own, so that a report ends that file alone, and says how long it took.
 */
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuildOptions, ensureBuilt } from "./build.ts";
import { addCounts, type Counts, formatCounts } from "./counts.ts";
import { helpIfAsked } from "./help.ts";
import { readCounts } from "./test.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const SANITIZED: BuildOptions = { folder: "build/asan", define: ["-DMEFT_SANITIZE=ON"], target: "tested" };
const TESTS = ["tests/contract", "tests/native", "tests/unit/native"];
/** What a sanitizer says, whoever ran into it: a test may expect that its child fails. */
const REPORT = /AddressSanitizer|runtime error: /;

/** Path of a compiler's runtime library. */
async function runtime(name: string): Promise<string> {
  const { stdout } = await new Deno.Command("c++", { args: [`-print-file-name=${name}`] }).output();
  return new TextDecoder().decode(stdout).trim();
}

/** Test files under folders, and files as they are named. */
function* testFiles(paths: readonly string[]): Generator<string> {
  for (const path of paths) {
    if (Deno.statSync(path).isFile) {
      yield path;
      continue;
    }
    const entries = [...Deno.readDirSync(path)].toSorted((a, b) => a.name < b.name ? -1 : 1);
    for (const { name, isDirectory } of entries) {
      if (isDirectory) yield* testFiles([`${path}/${name}`]);
      else if (name.endsWith("_test.ts")) yield `${path}/${name}`;
    }
  }
}

/** Runs one file; its output is shown when something is wrong. */
async function runFile(path: string, env: Record<string, string>): Promise<Counts> {
  const startMs = performance.now();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--no-check", "--quiet", path],
    env,
  }).output();
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("");
  const counts = readCounts(text);
  const good = code === 0 && !REPORT.test(text);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1).padStart(7);
  if (!good) console.log(text);
  console.log(`${good ? "ok    " : "FAILED"} ${seconds} s  ${relative(ROOT, path)}: ${formatCounts(counts)}`);
  return good ? counts : { ...counts, failed: Math.max(1, counts.failed) };
}

async function main(args: readonly string[]): Promise<number> {
  await ensureBuilt(SANITIZED);
  const startMs = performance.now();
  const env = {
    LD_PRELOAD: [await runtime("libasan.so"), await runtime("libubsan.so")].join(":"),
    // Signals are V8's and libmeft's own: tests see what these make of them.
    ASAN_OPTIONS: "detect_leaks=0:handle_segv=0:handle_sigbus=0",
    UBSAN_OPTIONS: "print_stacktrace=1",
    MEFT_LIB: `${ROOT}${SANITIZED.folder}/libmeft.so`,
    NO_COLOR: "1",
  };
  const files = [...testFiles(args.length > 0 ? args : TESTS.map((path) => ROOT + path))];
  let counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const worker = async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      const ofFile = await runFile(file, env); // before the sum is read, which others add to meanwhile
      counts = addCounts(counts, ofFile);
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, worker));
  const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
  console.log(`${formatCounts(counts)}, ${minutes} min under the sanitizers`);
  return counts.failed === 0 && counts.passed > 0 ? 0 : 1;
}

if (import.meta.main) {
  helpIfAsked("asan");
  Deno.exit(await main(Deno.args));
}
