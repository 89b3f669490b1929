// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../../lib/core/errors.ts";
import { writeResults } from "../../../lib/study/results.ts";
import { cellFolder, openStudyFolder } from "../../../lib/study/study_folder.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { STUDY } from "../../fixtures/study.ts";

/** A study whose cells were finished, but not tidied before it was killed; a failed one keeps what it has. */
async function writeStudy(out: string): Promise<void> {
  const [first, second] = STUDY;
  if (first === undefined || second === undefined) throw new Error("The study has no cells");
  await Deno.mkdir(out, { recursive: true });
  await writeResults(out, [first, { ...second, status: "failed", numbers: null, error: "why" }]);
  for (const { cell } of [first, second]) {
    for (const name of ["adapter", "checkpoints/step-000004"]) {
      await Deno.mkdir(join(cellFolder(out, cell), name), { recursive: true });
    }
    await Deno.writeTextFile(join(cellFolder(out, cell), "run.json"), "{}");
  }
}

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

for (const keepAdapters of [false, true]) {
  Deno.test(`openStudyFolder() removes what a killed study did not come to remove, adapters kept: ${keepAdapters}`, async () => {
    await withFolder(async (out) => {
      await writeStudy(out);
      using folder = await openStudyFolder(out, { keepAdapters });
      assert.equal(folder.results.length, 2);
      assert.deepEqual(namesIn(cellFolder(out, "a")), [...(keepAdapters ? ["adapter"] : []), "run.json"]);
      assert.deepEqual(namesIn(cellFolder(out, "b")), ["adapter", "checkpoints", "run.json"]);
    });
  });
}

Deno.test("openStudyFolder() tells what of a finished cell cannot be removed, and tries it again", async () => {
  await withFolder(async (out) => {
    await writeStudy(out);
    const warnings: string[] = [];
    let holds = true;
    using folder = await openStudyFolder(out, {
      keepAdapters: false,
      onWarning: (text) => void warnings.push(text),
      remove: async (path) => {
        if (holds && path.endsWith("checkpoints")) throw new UserError(`Cannot remove ${path}: it is held`);
        await Deno.remove(path, { recursive: true }).catch(() => {});
      },
    });
    const place = join(cellFolder(out, "a"), "checkpoints");
    assert.deepEqual(warnings, [
      `Cannot remove ${place}: it is held; it is no longer needed, and its removal is tried again later`,
    ]);
    holds = false;
    await folder.tidy(folder.results);
    assert.deepEqual(namesIn(cellFolder(out, "a")), ["run.json"]);
    assert.equal(warnings.length, 1);
  });
});

Deno.test("openStudyFolder() removes checkpoints last, and an adapter only with them: what has none is finished with", async () => {
  await withFolder(async (out) => {
    await writeStudy(out);
    const warnings: string[] = [];
    const options = { keepAdapters: false, onWarning: (text: string) => void warnings.push(text) };
    {
      using _ = await openStudyFolder(out, {
        ...options,
        remove: (path) => Promise.reject(new UserError(`Cannot remove ${path}: it is held`)),
      });
      assert.deepEqual(namesIn(cellFolder(out, "a")), ["adapter", "checkpoints", "run.json"]);
      assert.equal(warnings.length, 1);
      assert.match(warnings.join(), /^Cannot remove .*adapter: it is held; it is no longer needed/);
    }
    {
      using _ = await openStudyFolder(out, options); // the folder was given back
      assert.deepEqual(namesIn(cellFolder(out, "a")), ["run.json"]);
    }
    await Deno.mkdir(join(cellFolder(out, "a"), "adapter"));
    using _ = await openStudyFolder(out, options);
    assert.deepEqual(
      namesIn(cellFolder(out, "a")),
      ["adapter", "run.json"],
      "one that an earlier study kept stays",
    );
  });
});

Deno.test("openStudyFolder() removes a half-written page only when its writer must be gone", async () => {
  await withFolder(async (out) => {
    const page = (i: number) => `.report.html.0123456${i}-89ab-4def-8123-456789abcdef.part`;
    const ages = [59, 61];
    for (const [i, minutes] of ages.entries()) {
      await Deno.writeTextFile(join(out, page(i)), "");
      const then = Date.now() / 1000 - 60 * minutes;
      await Deno.utime(join(out, page(i)), then, then);
    }
    using _ = await openStudyFolder(out, { keepAdapters: false });
    assert.deepEqual(namesIn(out), [page(0), "cells"]);
  });
});

Deno.test("openStudyFolder() removes left-overs of its own files, and is one process's at a time", async () => {
  await withFolder(async (out) => {
    const part = (name: string) => `.${name}.01234567-89ab-4def-8123-456789abcdef.part`;
    const ours = ["results.jsonl", "results.csv", "study.json"].map(part);
    const foreign = [part("notes.csv"), part("report.html"), "results.csv.part"].sort();
    for (const name of [...ours, ...foreign]) await Deno.writeTextFile(join(out, name), "");
    const warnings: string[] = [];
    const options = { keepAdapters: false, onWarning: (text: string) => void warnings.push(text) };
    using _ = await openStudyFolder(out, options);
    assert.deepEqual(namesIn(out), [...foreign, "cells"].sort());
    assert.match(warnings.join("\n"), /^removed 3 left-overs of a killed study: .*results\.csv/);
    await assert.rejects(openStudyFolder(out, options), /another process is running it/);
  });
});
