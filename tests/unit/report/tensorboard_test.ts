// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { openEventLog, scalarsOf, writeEventFile } from "../../../lib/report/tensorboard/event_log.ts";
import { crc32c, scalarRecord, versionRecord } from "../../../lib/report/tensorboard/records.ts";
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

/** Steps and losses of an event file, read by its format's description alone. */
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
    const value = new DataView(message.buffer, message.byteOffset + place + tag.length + 1, 4).getFloat32(
      0,
      true,
    );
    losses.push([message[10] as number, value]);
  }
  return losses;
}

Deno.test("writeEventFile() replaces what it wrote before, and openEventLog() goes on from there", () =>
  withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "run.json"), "{}");
    const lines = [{ step: 1, loss: 4, time: 10 }, { step: 2, loss: 2.5, time: 11 }];
    Deno.writeTextFileSync(
      join(folder, "metrics.jsonl"),
      lines.map((line) => JSON.stringify(line) + "\n").join(""),
    );
    const events = () => [...Deno.readDirSync(join(folder, "tensorboard"))].map(({ name }) => name);
    const first = await writeEventFile(folder, 1_700_000_000_000);
    deepStrictEqual(events(), ["events.out.tfevents.1700000000.meft"]);
    deepStrictEqual(readLosses(first), [[1, 4], [2, 2.5]]);
    const second = await writeEventFile(folder, 1_700_000_000_000);
    deepStrictEqual(events(), ["events.out.tfevents.1700000001.meft"]);
    deepStrictEqual(readLosses(second), [[1, 4], [2, 2.5]]);
    {
      using log = await openEventLog(folder);
      log.append({ step: 3, loss: 1.5, time: 12 });
    }
    const [name = ""] = events();
    strictEqual(events().length, 1);
    deepStrictEqual(readLosses(join(folder, "tensorboard", name)), [[1, 4], [2, 2.5], [3, 1.5]]);
  }));
