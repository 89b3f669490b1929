// SPDX-License-Identifier: Apache-2.0
/** Every task under the limits that a shell can set: a sentence and an exit code, never a stack, a signal or a half file. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { withFolder } from "../fixtures/folder.ts";
import {
  adapterBytes,
  afterFirstSave,
  type CommandResult,
  DEMO_FACTS,
  DEMO_MODEL,
  DEMO_ROWS,
  LONG_RUN,
  ROOT,
  runCommandLine,
  savedFiles,
} from "./command.ts";

/**
 * Runs a task, with the permissions that it has, in a shell that sets a limit first: `-f 100`, in the shell's units (blocks of
 * 512 bytes, kilobytes).
 */
async function runLimited(
  limit: string,
  args: readonly string[],
): Promise<CommandResult & { signal: string | null }> {
  const { code, signal, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", `ulimit ${limit} && exec "$@"`, "sh", Deno.execPath(), "task", "--quiet", ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, signal, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Under a limit, a command may do its work or say why it cannot. */
function assertPlain(
  name: string,
  { code, signal, stderr }: CommandResult & { signal: string | null },
): void {
  const what = `${name}: ${signal ?? code}\n${stderr}`;
  strictEqual(signal, null, what);
  ok([0, 1, 2].includes(code), what);
  ok(!/^ {4}at |panicked|Fatal/m.test(stderr), what);
  ok(stderr.trimEnd().split("\n").length <= 3, what);
  ok((stderr.trim() !== "") || code === 0, what);
}

const TRAIN = [
  ...["train", ...DEMO_ROWS, "--batch-size", "8", "--examples", "0"],
  ...["--method", "lora", "--save-every", "2", "--quiet"],
];

/** The tasks, with a folder that a run of {@linkcode TRAIN} left. */
function tasks(run: string, out: string): Readonly<Record<string, readonly string[]>> {
  const adapter = ["--model", DEMO_MODEL, "--adapter", `${run}/adapter`, "--quiet"];
  return {
    train: [...TRAIN, "--steps", "4", "--out", out],
    generate: ["generate", ...adapter, "--prompt", "The", "--max-new-tokens", "4"],
    evaluate: ["evaluate", ...adapter, "--data", DEMO_FACTS],
    merge: ["merge", ...adapter, "--out", out],
    preview: ["preview", "--model", DEMO_MODEL, "--data", DEMO_FACTS, "--quiet"],
    report: ["report", "--run", run, "--quiet"],
    ablate: [
      ...["ablate", ...DEMO_ROWS, "--batch-size", "16", "--quiet"],
      ...[
        "--micro-batch-size",
        "16",
        "--grid",
        "neurons=32,64",
        "--steps",
        "2",
        "--seeds",
        "1",
        "--limit",
        "2",
      ],
      ...["--max-new-tokens", "2", "--out", out],
    ],
  };
}

/**
 * Low enough that most are felt by most tasks. Below about 700 MiB (-d), 48 GiB (-v) and 48 files (-n), Deno ends before the
 * program begins.
 */
const LIMITS = ["-f 200", "-d 800000", "-d 1000000", "-n 48", "-v 60000000"];

Deno.test("every task under every limit ends with a sentence and an exit code", () =>
  withFolder(async (folder) => {
    const run = `${folder}/run`;
    const trained = await runCommandLine(...TRAIN, "--steps", "2", "--out", run);
    strictEqual(trained.code, 0, trained.stderr);
    const queue = LIMITS.flatMap((limit, i) =>
      Object.entries(tasks(run, `${folder}/out-${i}`)).map(([name, args]) => ({
        name: `${name} ${limit}`,
        args: args.map((arg) => arg.replace(`/out-${i}`, `/out-${name}-${i}`)),
        limit,
      }))
    );
    const worker = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        assertPlain(next.name, await runLimited(next.limit, next.args));
      }
    };
    await Promise.all([worker(), worker()]);
  }));

Deno.test("a training that meets the limit on file sizes keeps its checkpoints, and goes on without it to the same bytes", () =>
  withFolder(async (folder) => {
    const train = (out: string) => [...LONG_RUN, "--model", DEMO_MODEL, "--out", `${folder}/${out}`];
    const whole = await runCommandLine(...train("whole"));
    strictEqual(whole.code, 0, whole.stderr);
    const begun = await afterFirstSave(train("run"), (child) => child.kill("SIGINT"));
    strictEqual(begun.code, 130, begun.stderr);
    const before = savedFiles(`${folder}/run`);

    const limited = await runLimited("-f 100", [...train("run"), "--resume", "--quiet"]);
    strictEqual(limited.code, 1, limited.stderr);
    match(limited.stderr, /^Cannot write .*File too large.*raise the limit on file sizes \(ulimit -f\)/);
    deepStrictEqual(savedFiles(`${folder}/run`), before);

    const resumed = await runCommandLine(...train("run"), "--resume");
    strictEqual(resumed.code, 0, resumed.stderr);
    assertSame(adapterBytes(`${folder}/run`), adapterBytes(`${folder}/whole`));
  }));
