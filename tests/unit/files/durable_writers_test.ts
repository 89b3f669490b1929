// SPDX-License-Identifier: Apache-2.0
/** Every file of a study, a report and a cache is on the disk, with its name, once its writer says so. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readDataset, writeDataset } from "../../../lib/data/dataset_file.ts";
import { keptFileHash } from "../../../lib/files/hash.ts";
import { writeStudyReport } from "../../../lib/report/ablation_report.ts";
import { readNewMetrics } from "../../../lib/report/metrics_index.ts";
import { writeExamples } from "../../../lib/report/run_record.ts";
import { writeRunReport } from "../../../lib/report/run_report.ts";
import { openEventLog, writeEventFile } from "../../../lib/report/tensorboard/event_log.ts";
import { writeResults } from "../../../lib/study/results.ts";
import { openStudyFolder } from "../../../lib/study/study_folder.ts";
import { STUDY } from "../../fixtures/study.ts";
import { testDurable } from "../../fixtures/watched_disk.ts";
import { smallData } from "../train/small_run.ts";

/** What writes into a folder that is there, and the names that it leaves in it. */
const WRITERS: Readonly<Record<string, readonly [(folder: string) => Promise<unknown>, readonly string[]]>> =
  {
    writeResults: [(folder) => writeResults(folder, STUDY), ["results.csv", "results.jsonl"]],
    openStudyFolder: [async (folder) => {
      using _ = await openStudyFolder(join(folder, "a", "study"), { keepAdapters: false });
      await writeResults(join(folder, "a", "study"), STUDY);
    }, ["a"]],
    writeStudyReport: [(folder) => writeStudyReport(folder, STUDY), ["report.html"]],
    writeExamples: [(folder) => writeExamples(folder, []), ["examples.json"]],
    writeDataset: [async (folder) => {
      await writeDataset(join(folder, "data"), smallData(), "key");
      assert.ok(await readDataset(join(folder, "data"), "key", ["small.jsonl"], 61));
    }, ["data"]],
  };

for (const [name, [write, names]] of Object.entries(WRITERS)) {
  testDurable(`${name}() leaves its files on the disk`, async (folder) => {
    await write(folder);
    assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name).sort(), names);
  });
}

testDurable(
  "reports, their index and TensorBoard's files are on the disk once they are written",
  async (folder, disk) => {
    const line = (step: number) => ({
      step,
      totalSteps: 9,
      loss: 1,
      time: 1,
      padding: "".padEnd(1 << 20, "-"),
    });
    await Deno.writeTextFile(join(folder, "run.json"), '{"settings":{}}');
    const lines = Array.from({ length: 5 }, (_, i) => `${JSON.stringify(line(i + 1))}\n`).join("");
    await Deno.writeTextFile(join(folder, "metrics.jsonl"), lines);
    disk.settle();
    await readNewMetrics(folder, null);
    assert.ok(Deno.statSync(join(folder, ".metrics-index.json")).isFile);
    assert.deepEqual(disk.lost(folder), []);
    await writeRunReport(folder);
    assert.deepEqual(disk.lost(folder), []);
    await writeEventFile(folder);
    assert.deepEqual(disk.lost(folder), []);
    using _ = await openEventLog(folder, line(3));
    assert.equal([...Deno.readDirSync(join(folder, "tensorboard"))].length, 2);
  },
);

testDurable("keptFileHash() keeps a hash on the disk, in a folder that is", async (folder, disk) => {
  const path = join(folder, "large");
  await Deno.writeTextFile(path, "");
  await Deno.truncate(path, 32 * 2 ** 20);
  disk.settle();
  const { now } = Date;
  Date.now = () => now() + 60_000; // the file was written long ago
  try {
    await keptFileHash(path, { folder: join(folder, "cache", "weights") });
  } finally {
    Date.now = now;
  }
  assert.equal([...Deno.readDirSync(join(folder, "cache", "weights"))].length, 1);
});
