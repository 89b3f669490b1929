// SPDX-License-Identifier: Apache-2.0
/** What a run's folder holds for its report: read back, or refused by name. */
import { deepEqual, rejects } from "node:assert/strict";
import { type Example, readExamples, readRunRecord, writeExamples } from "../../../lib/report/run_record.ts";
import { withFolder } from "../../fixtures/folder.ts";

const EXAMPLE: Example = { prompt: "Where?", expected: ["here", "there"], before: "no", after: null };

Deno.test("readExamples() gives what was written, and refuses what is no answer of a run", async () => {
  await withFolder(async (folder) => {
    deepEqual(await readExamples(folder), []);
    await writeExamples(folder, [EXAMPLE]);
    deepEqual(await readExamples(folder), [EXAMPLE]);
    const { expected: _, ...lacking } = EXAMPLE;
    for (
      const value of [{}, "x", [1], [lacking], [{ ...EXAMPLE, expected: [2] }], [{ ...EXAMPLE, after: 3 }]]
    ) {
      await Deno.writeTextFile(`${folder}/examples.json`, JSON.stringify(value));
      await rejects(readExamples(folder), /examples\.json holds no answers of a run: remove it/);
    }
  });
});

Deno.test("readRunRecord() gives the newest load of the experts, and none where the log has no such lists", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/run.json`, "{}");
    const loads = async (...all: unknown[]) => {
      const lines = all.map((expertLoad, i) => `${JSON.stringify({ step: i + 1, expertLoad })}\n`);
      await Deno.writeTextFile(`${folder}/metrics.jsonl`, lines.join(""));
      return (await readRunRecord(folder)).expertLoad;
    };
    deepEqual(await loads([[1, 2]], null, [[3, 4], [5, 6]], undefined), [[3, 4], [5, 6]]);
    deepEqual(await loads(null), null);
    deepEqual(await loads([[1], 2]), null);
    await Deno.writeTextFile(`${folder}/run.json`, "[]");
    await rejects(readRunRecord(folder), /There is no run in .*: it has no run\.json of one/);
  });
});
