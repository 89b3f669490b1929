// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, rejects } from "node:assert/strict";
import { balance, loadCells } from "../../../lib/report/expert_section.ts";
import { writeRunReport } from "../../../lib/report/run_report.ts";
import { withFolder } from "../../fixtures/folder.ts";

Deno.test("balance() and loadCells() are relative to an even load, and bear a layer without tokens", () => {
  deepStrictEqual(balance([5, 5, 5, 5]), ["0", "1.00", "100.0 %"]);
  deepStrictEqual(balance([8, 0, 0, 0]), ["3", "4.00", "0.0 %"]);
  deepStrictEqual(balance([0, 0]), ["2", "-", "-"]);
  deepStrictEqual(balance([7]), ["0", "1.00", "100.0 %"]);
  deepStrictEqual(loadCells([[1, 3, 5], [0, 0, 0]], 2).map(({ x, y, value }) => [x, y, value]), [
    [0, 0, 2 / 3],
    [2, 0, 5 / 3],
    [0, 1, 0],
    [2, 1, 0],
  ]);
});

Deno.test("writeRunReport() shows a run before its first step, and refuses a folder without one", () =>
  withFolder(async (folder) => {
    await rejects(writeRunReport(folder), /There is no run in .*: it has no run\.json/);
    Deno.writeTextFileSync(
      `${folder}/run.json`,
      JSON.stringify({ method: "<lora>", settings: { steps: 3 } }),
    );
    const page = Deno.readTextFileSync(await writeRunReport(folder));
    match(page, /&lt;lora&gt; on \?[^]*No step has ended yet/);
    deepStrictEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
      "report.html",
      "run.json",
    ]);
  }));
