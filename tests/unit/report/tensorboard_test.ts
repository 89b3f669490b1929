// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { openEventLog, scalarsOf, writeEventFile } from "../../../lib/report/tensorboard/event_log.ts";
import {
  crc32c,
  lastStep,
  scalarRecord,
  startRecord,
  versionRecord,
} from "../../../lib/report/tensorboard/records.ts";
import { withFolder } from "../../fixtures/folder.ts";

/** The version at 1700000000.5 and two scalars of step 2^33 + 300, as TensorBoard 2.21's RecordWriter wrote them. */
const WRITTEN_BY_TENSORBOARD =
  "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b35311039000000000000008b0737f10900002040fc54d94110ac828080202a280a110a0a747261696e2f6c6f7373150000a03f0a130a0c74696d652f6d6f64656c4d7315cdcccc3da1138c98";

Deno.test("scalarRecord() and versionRecord() are the bytes that TensorBoard writes", () => {
  const scalars = [{ tag: "train/loss", value: 1.25 }, { tag: "time/modelMs", value: 0.1 }];
  const records = [versionRecord(1_700_000_000.5), scalarRecord(1_700_000_000.5, 2 ** 33 + 300, scalars)];
  strictEqual(records.map((record) => record.toHex()).join(""), WRITTEN_BY_TENSORBOARD);
});

Deno.test("crc32c() has the check values of its standard", () => {
  strictEqual(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  strictEqual(crc32c(new Uint8Array(32)), 0x8a9136aa); // RFC 3720, B.4
  strictEqual(crc32c([]), 0);
});

Deno.test("scalarsOf() names every number and each class of memory, and leaves out what is no curve", () => {
  const line = {
    step: 3,
    totalSteps: 9,
    time: 5,
    loss: 2,
    modelMs: 7,
    evalLoss: null,
    expertLoad: [[1]],
    peakBytes: { cache: 8 },
  };
  deepStrictEqual(scalarsOf(line), [
    { tag: "train/loss", value: 2 },
    { tag: "time/modelMs", value: 7 },
    { tag: "memory/cachePeakBytes", value: 8 },
  ]);
});

Deno.test("scalarsOf() puts every metric of a training into the group of its kind", () => {
  const groups = {
    train: ["loss", "lr", "gradNorm", "epoch", "tokens", "targets"],
    eval: ["evalLoss"],
    neurons: ["activeNeurons", "deadNeurons"],
    memory: ["heldBytes"],
    time: ["tokensPerSecond", "modelMs", "adapterMs", "optimizerMs"],
  };
  for (const [group, names] of Object.entries(groups)) {
    for (const name of names) {
      deepStrictEqual(scalarsOf({ step: 1, [name]: 2 }), [{ tag: `${group}/${name}`, value: 2 }]);
    }
  }
});

/** Steps and losses of an event file, NaN for the record that says where it starts, read by its format's description alone. */
function readLosses(path: string): [number, number][] {
  const bytes = Deno.readFileSync(path);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const losses: [number, number][] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    const message = bytes.subarray(at + 12, at + 12 + length);
    at += 12 + length + 4;
    // wall_time takes 9 bytes; then step (tag 0x10) and the summary, or the version.
    if (message[9] !== 0x10) continue;
    const tag = new TextEncoder().encode("train/loss");
    const place = message.findIndex((_, i) => tag.every((byte, j) => message[i + j] === byte));
    if (place < 0) {
      losses.push([message[10] as number, NaN]);
      continue;
    }
    const value = new DataView(message.buffer, message.byteOffset + place + tag.length + 1, 4).getFloat32(
      0,
      true,
    );
    losses.push([message[10] as number, value]);
  }
  return losses;
}

function writeRun(folder: string, lines: readonly object[]): void {
  Deno.writeTextFileSync(join(folder, "run.json"), "{}");
  const text = lines.map((line) => JSON.stringify(line) + "\n").join("");
  Deno.writeTextFileSync(join(folder, "metrics.jsonl"), text);
}

/** Names and content of a run's event files, in TensorBoard's order. */
function eventFiles(folder: string): [string, ReturnType<typeof readLosses>][] {
  const names = [...Deno.readDirSync(join(folder, "tensorboard"))].map(({ name }) => name).sort();
  return names.map((name) => [name, readLosses(join(folder, "tensorboard", name))]);
}

const NOW = 1_700_000_000_000;
const [FIRST, SECOND] = ["events.out.tfevents.1700000000.meft", "events.out.tfevents.1700000001.meft"];

Deno.test("writeEventFile() replaces what it wrote before, and leaves damaged lines out", () =>
  withFolder(async (folder) => {
    await rejects(writeEventFile(folder), /There is no run in/);
    writeRun(folder, []);
    await writeEventFile(folder, NOW);
    deepStrictEqual(eventFiles(folder), [[FIRST, [[0, NaN]]]]);
    writeRun(folder, [{ step: 1, loss: 4, time: 10 }, { step: -1 }, { step: 2, loss: 2.5, time: 11 }]);
    await writeEventFile(folder, NOW);
    deepStrictEqual(eventFiles(folder), [[SECOND, [[1, NaN], [1, 4], [2, 2.5]]]]);
  }));

Deno.test("openEventLog() of a resumed run leaves its older files as they are and restarts in a new one", () =>
  withFolder(async (folder) => {
    const open = async (step: number, loss: number) => {
      using log = await openEventLog(folder, { step, loss, time: 20 }, NOW);
      log.append({ step: step + 1, loss: loss / 2, time: 21 });
    };
    writeRun(folder, [{ step: 1, loss: 4, time: 10 }]);
    await open(1, 4);
    const first = [FIRST, [[1, NaN], [1, 4], [2, 2]]];
    deepStrictEqual(eventFiles(folder), [first]);
    // Killed after step 2, resumed from the checkpoint of step 1.
    writeRun(folder, [{ step: 1, loss: 4, time: 10 }, { step: 2, loss: 3, time: 20 }]);
    await open(2, 3);
    deepStrictEqual(eventFiles(folder), [first, [SECOND, [[2, NaN], [2, 3], [3, 1.5]]]]);
    // Steps that were logged by a process that wrote no event file.
    writeRun(folder, [1, 2, 3, 4, 5].map((step) => ({ step, loss: 1 / step, time: 30 })));
    await open(5, 0.25);
    deepStrictEqual(eventFiles(folder).map(([, losses]) => losses.map(([step]) => step)), [[
      1,
      1,
      2,
      3,
      4,
      5,
      6,
    ]]);
    // A file that a loss of power cut.
    const path = join(folder, "tensorboard", eventFiles(folder)[0]?.[0] ?? "");
    Deno.truncateSync(path, Deno.statSync(path).size - 1);
    writeRun(folder, [{ step: 1, loss: 4 }]);
    await open(1, 4);
    deepStrictEqual(eventFiles(folder).map(([, losses]) => losses), [[[1, NaN], [1, 4], [2, 2]]]);
  }));

Deno.test("startRecord() is the bytes that TensorBoard 2.21 writes, and lastStep() reads a step back", () => {
  strictEqual(
    startRecord(1_700_000_000.5, 300).toHex(),
    "100000000000000095fbfe180900002040fc54d94110ac023a020801b94512a3",
  );
  const scalars = [{ tag: "train/loss", value: 1 }];
  for (const step of [0, 127, 128, 2 ** 33 + 300]) {
    const bytes = Uint8Array.of(7, 7, ...versionRecord(1), ...scalarRecord(2, step, scalars));
    strictEqual(lastStep(bytes), step);
    strictEqual(lastStep(bytes.subarray(0, -1)), null);
    strictEqual(lastStep(bytes.with(bytes.length - 6, 0xff)), null);
  }
  strictEqual(lastStep(versionRecord(1)), null);
  strictEqual(lastStep(new Uint8Array(0)), null);
});
