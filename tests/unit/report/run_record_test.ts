// SPDX-License-Identifier: Apache-2.0
/** What a run's folder holds for its report: read back, or refused by name. */
import { deepEqual, rejects } from "node:assert/strict";
import { type Example, readExamples, writeExamples } from "../../../lib/report/run_record.ts";
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
