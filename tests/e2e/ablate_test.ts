// SPDX-License-Identifier: Apache-2.0
/** `deno task ablate` as a user runs it, kills it, and runs it again. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { DEMO_FACTS, DEMO_MODEL, runCommandLine, spawn } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

const SMALL = [
  ...["ablate", "--model", DEMO_MODEL, "--data", DEMO_FACTS, "--seq-len", "64", "--batch-size", "8"],
  ...["--micro-batch-size", "8", "--neurons", "64", "--limit", "4", "--max-new-tokens", "4"],
];

/** Lines of a study's results without what only a clock can say. */
function exactResults(out: string): Record<string, unknown>[] {
  return Deno.readTextFileSync(`${out}/results.jsonl`).trimEnd().split("\n").map((line) => {
    const result = JSON.parse(line);
    for (const time of ["seconds", "tokensPerSecond", "scoringSeconds"]) {
      ok(result.numbers[time] > 0, `${time} is measured`);
      delete result.numbers[time];
    }
    return result;
  });
}

/** Waits until a study's folder says something, looking often. */
async function until(condition: () => boolean): Promise<void> {
  const endMs = Date.now() + 60_000;
  while (!condition()) {
    ok(Date.now() < endMs, "waited for a minute");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Names in a folder; none where there is no such folder yet. */
function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Cells whose results are written. */
function finishedCells(out: string): string[] {
  if (!namesIn(out).includes("results.jsonl")) return [];
  const text = Deno.readTextFileSync(`${out}/results.jsonl`);
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line).cell);
}

/** Whether so many cells are finished, and another one, whichever stands first in the folder, has a checkpoint. */
function isUnderWay(out: string, done: number): boolean {
  const finished = finishedCells(out);
  const others = namesIn(`${out}/cells`).filter((cell) => !finished.includes(cell));
  return finished.length === done &&
    others.some((cell) => namesIn(`${out}/cells/${cell}/checkpoints`).some((name) => /^step-/.test(name)));
}

Deno.test("ablate killed in the middle of a cell goes on from its checkpoint to the same results", () =>
  withFolder(async (folder) => {
    const study = [...SMALL, "--grid", "top-k=4,16", "--steps", "60", "--save-every", "5", "--seeds", "1"];
    const whole = await runCommandLine(...study, "--out", `${folder}/whole`, "--json");
    strictEqual(whole.code, 0, whole.stderr);

    const out = `${folder}/killed`;
    const child = spawn([...study, "--out", out]);
    await until(() => isUnderWay(out, 1));
    child.kill("SIGKILL");
    await child.output();
    strictEqual(exactResults(out).length, 1, "one cell was done, the other was under way");

    const rest = await runCommandLine(...study, "--out", out);
    strictEqual(rest.code, 0, rest.stderr);
    match(rest.stdout, /2 cells, 1 done before/);
    match(rest.stdout, /1\/2 topK=4 seed=1 .*\(done before\)/);
    deepStrictEqual(exactResults(out), exactResults(`${folder}/whole`));
    match(Deno.readTextFileSync(`${out}/report.html`), /exact match by K/);
    const csv = Deno.readTextFileSync(`${out}/results.csv`).trimEnd().split("\r\n");
    strictEqual(csv.length, 3);
    match(
      csv[0] as string,
      /^cell,parts,status,.*,topK,.*,seed,exact-match,exact-match-low,exact-match-high,steps,lossFirst/,
    );
  }));

Deno.test("ablate lists its cells, records a failure, and prints one JSON object", () =>
  withFolder(async (folder) => {
    const config = `${folder}/study.json`;
    const grid = [
      { part: "rates", lr: [1e-3, 1e38] },
      { part: "methods", method: "lora", rank: 2, "lora-alpha": 4, series: "small" },
    ];
    await Deno.writeTextFile(config, JSON.stringify({ steps: 3, seeds: [1], metric: ["none"], grid }));
    const study = [...SMALL, "--config", config, "--out", `${folder}/out`];
    const listed = await runCommandLine(...study, "--list");
    strictEqual(listed.code, 0, listed.stderr);
    match(listed.stdout, /lr=0\.001 seed=1 +rates +3 +123 k .* to run/);
    match(listed.stdout, /method=lora rank=2 loraAlpha=4 seed=1 +methods +3 /);

    const { code, stdout, stderr } = await runCommandLine(...study, "--json");
    strictEqual(code, 1, "a failed cell is a failure");
    const result = JSON.parse(stdout);
    deepStrictEqual([result.cells, result.done, result.failed], [3, 2, 1]);
    match(stderr, /2\/3 lr=1e\+38 seed=1 {2}failed: Step \d/);
    match(stderr, /cell +seeds +loss +trained +peak memory +time +tokens\/s/);
    match(Deno.readTextFileSync(`${folder}/out/report.html`), /id="failures"/);
    const quiet = await runCommandLine(...study, "--quiet");
    deepStrictEqual([quiet.stdout, quiet.code], ["", 1]);
  }));

Deno.test("ablate finds all mistakes before anything starts", async () => {
  const flags = await runCommandLine(...SMALL, "--grid", "topk=4", "--grid", "gate=row", "--seeds", "-1");
  strictEqual(flags.code, 2);
  match(flags.stderr, /has 3 problems:\n.*did you mean top-k\?\n.*did you mean raw\?\n.*--seeds is "-1"/);
  const cells = await runCommandLine(...SMALL, "--grid", "experts=4,7", "--grid", "top-k=4,100");
  strictEqual(cells.code, 2);
  match(
    cells.stderr,
    /The study has 2 problems:\n.*experts=4 topK=100, experts=7 topK=100: topK is 100.*\n.*experts=7/,
  );
  const help = await runCommandLine("ablate", "--help");
  strictEqual(help.code, 0);
  match(help.stdout, /--grid.*\n[^]*Examples:\n {2}deno task ablate --grid top-k=8,16,64/);
});
