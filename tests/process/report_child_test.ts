// SPDX-License-Identifier: Apache-2.0
/** When a run's page is written anew, and what becomes of one that cannot be. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { refreshReport } from "../../lib/report/report_child.ts";
import { serveRunReport } from "../../lib/report/run_report.ts";
import { withFolder } from "../fixtures/folder.ts";

/** Looks often, for two minutes at most. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 120_000;
  while (!(await condition())) {
    ok(performance.now() < endMs, "waited for two minutes");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("refreshReport() writes 5 s after the start, every 30 s from then on, one page at a time, and at the end", async () => {
  let nowMs = 1000;
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const child = refreshReport("run", () => nowMs, (folder) => {
    strictEqual(folder, "run");
    begun.push(nowMs);
    return new Promise((resolve) => ends.push(resolve));
  });
  const at = async (ms: number): Promise<readonly number[]> => {
    nowMs = ms;
    child.refresh();
    await new Promise((resolve) => setTimeout(resolve));
    return begun;
  };
  strictEqual(child.url, null);
  deepStrictEqual(await at(5999), []);
  deepStrictEqual(await at(6000), [6000]);
  deepStrictEqual(await at(40_000), [6000], "the first one is still under way");
  ends[0]?.();
  await new Promise((resolve) => setTimeout(resolve));
  deepStrictEqual(await at(40_001), [6000, 40_001]);
  ends[1]?.();
  await new Promise((resolve) => setTimeout(resolve));
  deepStrictEqual(await at(70_000), [6000, 40_001]);
  deepStrictEqual(await at(70_001), [6000, 40_001, 70_001]);
  const finished = child.finish();
  await new Promise((resolve) => setTimeout(resolve));
  strictEqual(begun.length, 3, "the last page waits for the one under way");
  ends[2]?.();
  await new Promise((resolve) => setTimeout(resolve));
  strictEqual(begun.length, 4);
  ends[3]?.();
  await finished;
});

Deno.test("refreshReport() says what kept the last page from being written, and is silent about those before", async () => {
  let nowMs = 0;
  const child = refreshReport("run", () => nowMs, () => Promise.reject(new Error("no room")));
  nowMs = 5000;
  child.refresh();
  await rejects(child.finish(), /no room/);
});

Deno.test("serveRunReport() shows a run that has not begun, what it logs as it goes on, and its end", () =>
  withFolder(async (folder) => {
    const ended = new AbortController();
    let url = "";
    const { promise: serving, resolve } = Promise.withResolvers<void>();
    const served = serveRunReport(folder, 0, (address) => resolve(void (url = address)), ended.signal);
    await serving;
    const body = async () => await (await fetch(url)).text();
    match(await body(), /No step has ended yet/);
    const log = (step: number) =>
      Deno.writeTextFile(`${folder}/metrics.jsonl`, `{"step":${step},"totalSteps":9,"loss":1}\n`, {
        append: true,
      });
    await Deno.writeTextFile(`${folder}/run.json`, "{}");
    for (const step of [1, 2]) {
      await log(step);
      await until(async () => (await body()).includes(`step ${step} of 9`));
    }
    await log(3);
    ended.abort();
    await served;
    match(await Deno.readTextFile(`${folder}/report.html`), /step 3 of 9/, "the last step is written too");
    await rejects(fetch(url));
  }));
