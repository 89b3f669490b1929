// SPDX-License-Identifier: Apache-2.0
/** Every field of `run.json`, and which changes of a run that goes on are written down. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { JsonObject } from "../../../lib/core/json.ts";
import type { Dataset } from "../../../lib/data/dataset.ts";
import { datasetHash } from "../../../lib/data/dataset.ts";
import { train } from "../../../lib/train/loop.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { plan, type Run, runIdentity, type RunOptions } from "../../../lib/train/plan.ts";
import { askedBefore, readRecord, type RecordOptions, recordRun } from "../../../lib/train/run_record.ts";
import { otherFormatNotice } from "../../../lib/train/trained_format.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

/** A data set whose counts are all different. */
function countedData(): Dataset {
  const data = smallData();
  const report = {
    ...data.report,
    ...{ rowsRead: 21, rowsUsed: 20, truncatedRows: 3, cutTokens: 4, tokens: 55, targets: 44 },
    badRows: [{ file: "small.jsonl", line: 3, problem: "no text" }],
  };
  return { ...data, report } as unknown as Dataset;
}

async function recorded(
  out: string,
  run: Run,
  options: Partial<RecordOptions> = {},
  data: Dataset = smallData(),
): Promise<JsonObject> {
  await recordRun(out, run, data, { step: 0, flags: null, from: null, predicted: null, ...options });
  return JSON.parse(await Deno.readTextFile(join(out, "run.json")));
}

Deno.test("recordRun() writes what was decided, asked for, read, and predicted", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const planned = plan(model, smallOptions({ out, seed: 5 }));
    const run = { ...planned, base: { ...planned.base, content: "c".repeat(64) } };
    const data = countedData();
    const flags = { lr: 0.5, data: "a.jsonl" };
    const predicted = await predictMemory(run);
    const record = await recorded(out, run, { flags, predicted }, data);
    const { bytes, startBytes, adapterParameters, trainedParameters } = predicted;
    assert.notDeepEqual(bytes, startBytes);
    assert.deepEqual(record, {
      method: "sparse",
      start: null,
      flags,
      cwd: Deno.cwd(),
      identity: JSON.parse(JSON.stringify(runIdentity(run))),
      settings: JSON.parse(JSON.stringify(run.settings)),
      history: [],
      base: { name: model.dir, hash: run.base.hash, content: "c".repeat(64) },
      data: {
        files: ["small.jsonl"],
        hash: datasetHash(data),
        rowsRead: 21,
        rowsUsed: 20,
        examples: 12,
        badRows: 1,
        truncatedRows: 3,
        cutTokens: 4,
        tokens: 55,
        targets: 44,
        warnings: [],
      },
      predictedBytes: bytes,
      predictedStartBytes: startBytes,
      adapterParameters,
      trainedParameters,
      versions: { ...Deno.version },
    });
    const start = { folder: "/adapters/a", tensorsHash: "1".repeat(64) } as NonNullable<Run["start"]>;
    const started = await recorded(out, { ...run, start });
    assert.equal(started["start"], "/adapters/a");
    assert.deepEqual(
      [started["flags"], started["cwd"]],
      [flags, Deno.cwd()],
      "what was asked for before stays",
    );
  }));

Deno.test("the history of a run has every setting that changed, from which step on, and nothing else", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const of = (options: RunOptions) => plan(model, smallOptions(options));
    const first = { steps: 7, seed: 5 };
    await recorded(out, of(first), { flags: { threads: 1, lr: 0.5 } });
    const historyOf = async (step: number, options: RunOptions, flags: JsonObject | null = null) => {
      const { history } = await recorded(out, of({ ...first, ...options }), { step, flags });
      return history;
    };
    assert.deepEqual(await historyOf(2, {}), []);
    assert.deepEqual(await historyOf(2, { out: "/elsewhere", format: { chatTemplate: "off" } }), []);
    const second = [{ step: 3, changed: { saveEvery: [null, 2] } }];
    assert.deepEqual(await historyOf(3, { saveEvery: 2 }), second);
    const changed = { placement: ["host", "device"], halves: [1, 2], threads: [1, 4], device: [null, "cpu"] };
    const third = [...second, { step: 5, changed }];
    const options = { saveEvery: 2, placement: "device", halves: 2, cachedRows: 5 } as const;
    assert.deepEqual(await historyOf(5, options, { threads: 4, device: "cpu", lr: 0.1 }), third);
    // Gone back to step 4: what changed at step 5 is of another history.
    assert.deepEqual(await historyOf(4, options, { threads: 4, device: "cpu" }), second);
    assert.deepEqual(await historyOf(0, options), [], "a new run has none");
  }));

const ALONE = [
  "model",
  "device",
  "threads",
  "data",
  "dataCache",
  "evalData",
  "cachedRows",
  "examples",
  "tensorboard",
];

Deno.test("the history of a run has each flag that no setting says too", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const run = plan(model, smallOptions());
    await recorded(out, run, { flags: {} });
    const flags = Object.fromEntries(ALONE.map((name, i) => [name, i]));
    const { history } = await recorded(out, run, { step: 1, flags });
    const changed = Object.fromEntries(ALONE.map((name, i) => [name, [null, i]]));
    assert.deepEqual(history, [{ step: 1, changed }]);
  }));

Deno.test("a run that goes on from another folder takes its history from there, unless it has one of its own", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const [from, out] = [join(folder, "from"), join(folder, "out")];
    for (const path of [from, out]) await Deno.mkdir(path);
    await recorded(from, plan(model, smallOptions({ saveEvery: 3 })));
    const run = plan(model, smallOptions());
    const expected = [{ step: 2, changed: { saveEvery: [3, null] } }];
    assert.deepEqual((await recorded(out, run, { step: 2, from }))["history"], expected);
    assert.deepEqual((await recorded(out, run, { step: 4, from }))["history"], expected);
    assert.deepEqual((await recorded(out, run, { step: 0, from }))["history"], []);
  }));

Deno.test("readRecord() says how to go on without a run.json that is garbled; askedBefore() takes whole ones", () =>
  withFolder(async (out) => {
    assert.equal(await readRecord(out), null);
    const write = (text: string) => Deno.writeTextFile(join(out, "run.json"), text);
    await write("[]");
    assert.equal(await readRecord(out), null);
    await write("{");
    await assert.rejects(readRecord(out), {
      name: "UserError",
      message:
        /run\.json is not JSON: .*; remove the file, and resume with all flags that the run was started with$/,
    });
    const flags = { lr: 1 };
    assert.deepEqual(askedBefore({ flags, cwd: "/a" }), { flags, cwd: "/a" });
    for (const record of [null, {}, { flags }, { cwd: "/a" }, { flags: [], cwd: "/a" }, { flags, cwd: 3 }]) {
      assert.equal(askedBefore(record), null);
    }
  }));

Deno.test("otherFormatNotice() says what of the text is written otherwise than the adapter's run had it", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const own = { jinja: "{{ messages }}", name: "/a/own.jinja" };
    const format = { chatTemplate: own, thinking: "auto", templateOptions: { a: 1 } } as const;
    const adapter = join(out, "adapter");
    const told = (now: object) => otherFormatNotice(adapter, now);
    assert.equal(await told(format), null, "the adapter of no run");
    for await (const _ of train(plan(model, smallOptions({ out, steps: 1, format })), smallData()));
    assert.equal(await told(format), null);
    assert.equal(await told({ ...format, chatTemplate: { ...own, name: "/elsewhere" } }), null);
    const start = `Adapter ${adapter} was trained on text that was written otherwise:`;
    assert.equal(
      await told({ chatTemplate: "off", thinking: "on", system: "x".repeat(100), templateOptions: { a: 2 } }),
      `${start} thinking "auto" then, "on" now; templateOptions.a 1 then, 2 now; ` +
        `chatTemplate "{{ messages }}" then, "off" now; system none then, "${"x".repeat(59)}… now`,
    );
    await Deno.writeTextFile(join(out, "run.json"), "{");
    assert.equal(await told({}), null);
  }));
