// SPDX-License-Identifier: Apache-2.0
/** The folder of checkpoints: a million steps, strangers, limits, and what is set aside. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { adamw } from "../../../lib/optim/registry.ts";
import { train } from "../../../lib/train/loop.ts";
import { loadCheckpoint, newestCheckpoint, saveCheckpoint } from "../../../lib/train/checkpoint.ts";
import {
  checkpointName,
  listCheckpoints,
  removeOld,
  removeUnfinished,
  setAside,
  setLaterAside,
} from "../../../lib/train/checkpoint_folder.ts";
import { writeManifest } from "../../../lib/train/manifest.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
const id = "01234567-89ab-4def-8123-456789abcdef";

async function makeCheckpoints(folder: string, steps: readonly number[]): Promise<void> {
  for (const step of steps) await Deno.mkdir(join(folder, checkpointName(step)));
}

Deno.test("checkpoints are in the order of their steps beyond a million, whatever their names' order", () =>
  withFolder(async (folder) => {
    const steps = [999_998, 1_000_000, 999_999, 10_000_000, 7];
    assert.deepEqual(steps.map(checkpointName), [
      "step-999998",
      "step-1000000",
      "step-999999",
      "step-10000000",
      "step-000007",
    ]);
    await makeCheckpoints(folder, steps);
    const listed = async () => (await listCheckpoints(folder)).map(({ step }) => step);
    assert.deepEqual(await listed(), [7, 999_998, 999_999, 1_000_000, 10_000_000]);
    assert.equal((await listCheckpoints(folder))[3]?.path, join(folder, "step-1000000"));
    await removeOld(folder, 1_000_000, 2);
    assert.deepEqual(await listed(), [999_999, 1_000_000, 10_000_000]);
    const told = await setLaterAside(folder, 999_999);
    assert.equal(
      told,
      "checkpoints after step 999999, where the run goes on, were set aside in " +
        `${join(folder, "set-aside-1")}: step-1000000, step-10000000`,
    );
    assert.deepEqual(await listed(), [999_999]);
    assert.equal(await setLaterAside(folder, 999_999), null);
    await Deno.mkdir(join(folder, `.step-1000000.${id}.part`));
    assert.deepEqual((await removeUnfinished(folder)).removed, [join(folder, `.step-1000000.${id}.part`)]);
  }));

Deno.test("a run saves, resumes and removes checkpoints across step 1,000,000", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    // No row has steps to catch up on.
    const optimizer = adamw({ lr: 0.02, mode: "dense" });
    const options = { steps: 1_000_002, saveTotalLimit: 2, optimizer };
    const run = plan(model, smallOptions(options));
    const start = init(run);
    for (const step of [999_998, 999_999, 1_000_000, 1_000_001]) {
      const lrHistory = new Float32Array(step).fill(0.01);
      const state = { ...start, step, optim: { ...start.optim, lrHistory } };
      const path = await saveCheckpoint(run, state, "data", folder);
      assert.equal(path, join(folder, `step-${step}`));
      assert.equal(await newestCheckpoint(folder), path);
      assert.equal((await loadCheckpoint(run, "data", path)).step, step);
    }
    assert.deepEqual(namesIn(folder), ["step-1000000", "step-1000001"]);
  }));

Deno.test("removeOld() leaves as many as the limit says, the one just saved among them; null leaves all", () =>
  withFolder(async (folder) => {
    const steps = [1, 2, 3, 4, 5];
    const left = async (step: number, limit: number | null) => {
      for (const name of namesIn(folder)) await Deno.remove(join(folder, name));
      await makeCheckpoints(folder, steps);
      await removeOld(folder, step, limit);
      return (await listCheckpoints(folder)).map((entry) => entry.step);
    };
    assert.deepEqual(await left(5, null), steps);
    assert.deepEqual(await left(5, 5), steps);
    assert.deepEqual(await left(5, 9), steps);
    assert.deepEqual(await left(5, 2), [4, 5]);
    assert.deepEqual(await left(5, 1), [5]);
    assert.deepEqual(await left(4, 1), [4, 5]);
  }));

Deno.test("saveTotalLimit null keeps every checkpoint of a run, a number as many; strangers stay and count for nothing", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const after = async (name: string, options: RunOptions) => {
      const out = join(folder, name);
      const run = plan(model, smallOptions({ out, steps: 5, saveEvery: 1, ...options }));
      const place = join(out, "checkpoints");
      const strangers = ["step-2", "step-0000009.old", "notes.txt", "step-000009.txt", "best"];
      for await (const { step } of train(run, smallData())) {
        if (step !== 1) continue;
        for (const stranger of strangers) {
          if (stranger.endsWith(".txt")) await Deno.writeTextFile(join(place, stranger), "mine");
          else await Deno.mkdir(join(place, stranger));
        }
        await Deno.writeTextFile(join(place, "step-000001", "notes.txt"), "mine");
      }
      assert.deepEqual(namesIn(place).filter((one) => strangers.includes(one)), strangers.toSorted());
      assert.equal(await newestCheckpoint(place), join(place, "step-000005"));
      return namesIn(place).filter((one) => !strangers.includes(one));
    };
    const all = [1, 2, 3, 4, 5].map(checkpointName);
    assert.deepEqual(await after("all", { saveTotalLimit: null }), all);
    assert.deepEqual(await after("three", {}), all.slice(2));
    assert.deepEqual(await after("one", { saveTotalLimit: 1 }), all.slice(4));
  }));

Deno.test("a checkpoint with strangers in it is whole, is resumed from, and keeps them", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const options = { out, steps: 2, saveEvery: 1 };
    for await (const _ of train(plan(model, smallOptions(options)), smallData()));
    const place = join(out, "checkpoints", "step-000002");
    await Deno.writeTextFile(join(place, "notes.txt"), "mine");
    await Deno.mkdir(join(place, "folder"));
    const steps: number[] = [];
    const run = plan(model, smallOptions({ ...options, steps: 3 }));
    for await (const { step } of train(run, smallData(), { resume: true })) steps.push(step);
    assert.deepEqual(steps, [3]);
    assert.ok(namesIn(place).includes("notes.txt") && namesIn(place).includes("folder"));
  }));

Deno.test("setAside() takes the next free number, and moves every checkpoint named", () =>
  withFolder(async (folder) => {
    await makeCheckpoints(folder, [1, 2, 3]);
    const path = (step: number) => join(folder, checkpointName(step));
    assert.equal(await setAside(folder, [path(3)]), join(folder, "set-aside-1"));
    assert.equal(await setAside(folder, [path(2), path(1)]), join(folder, "set-aside-2"));
    assert.deepEqual(namesIn(folder), ["set-aside-1", "set-aside-2"]);
    assert.deepEqual(namesIn(join(folder, "set-aside-2")), [1, 2].map(checkpointName));
  }));

Deno.test("loadCheckpoint() refuses other formats and tensors that are not the run's, though every hash is right", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const run = plan(model, smallOptions());
    const path = await saveCheckpoint(run, { ...init(run), step: 0 }, "data", folder);
    const names = ["parameters.safetensors", "optimizer.safetensors", "state.json"];
    const state = join(path, "state.json");
    const saved = await Deno.readTextFile(state);
    const load = () => loadCheckpoint(run, "data", path);
    for (const edit of [{ format_version: 2 }, { identity: {} }, { position: 3 }, { step: 0.5 }]) {
      await Deno.writeTextFile(state, JSON.stringify({ ...JSON.parse(saved), ...edit }));
      await writeManifest(path, names);
      await assert.rejects(load(), /has another format than this version reads \(1\)$/);
    }
    await Deno.writeTextFile(state, saved);
    await writeManifest(path, names);
    await load();
    const [parameters, optimizer] = [
      join(path, "parameters.safetensors"),
      join(path, "optimizer.safetensors"),
    ];
    const tensors = await Deno.readFile(parameters);
    await Deno.copyFile(optimizer, parameters);
    await writeManifest(path, names);
    await assert.rejects(load(), /parameters\.safetensors holds tensors of another run: .*\.m/);
    await Deno.writeFile(parameters, replaced(tensors, '"F64","shape":[48,24]', '"F64","shape":[24,48]'));
    await writeManifest(path, names);
    await assert.rejects(load(), /is f64 \(24,48\), expected f64 \(48,24\)/);
  }));

/** The bytes with the first of one text made another of the same length. */
function replaced(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const at = new TextDecoder("latin1").decode(bytes).indexOf(from);
  assert.ok(at >= 0 && from.length === to.length);
  const other = bytes.slice();
  other.set(new TextEncoder().encode(to), at);
  return other;
}
