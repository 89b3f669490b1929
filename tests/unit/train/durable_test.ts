// SPDX-License-Identifier: Apache-2.0
/** Whatever a run says is saved is on the disk: a loss of power takes none of it, and leaves no part under a name. */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { saveAdapter } from "../../../lib/train/adapters.ts";
import { setAside } from "../../../lib/train/checkpoint_folder.ts";
import { train, type TrainOptions } from "../../../lib/train/loop.ts";
import { writeMergedCheckpoint } from "../../../lib/merge/merged_checkpoint.ts";
import { openMetrics } from "../../../lib/train/metrics_log.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { testDurable, type WatchedDisk } from "../../fixtures/watched_disk.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

/** Trains, and looks at the disk after every step and before a checkpoint gets its name. */
async function watchedRun(
  disk: WatchedDisk,
  out: string,
  options: RunOptions,
  trainOptions: TrainOptions = {},
) {
  using model = smallModel();
  const run = plan(model, smallOptions({ out, ...options }));
  const log = join(out, "metrics.jsonl");
  const named: string[] = [];
  disk.onMove = (to) => {
    if (!/^step-\d+$/.test(basename(to))) return;
    named.push(basename(to));
    assert.deepEqual(disk.lost(log), [], `lines of steps are on the disk before ${basename(to)} is`);
  };
  const saved: string[] = [];
  for await (const { checkpoint } of train(run, smallData(), trainOptions)) {
    assert.deepEqual(disk.lost(join(out, "run.json")), []);
    if (checkpoint === null) continue;
    saved.push(basename(checkpoint));
    assert.deepEqual(disk.lost(out), [], `after ${checkpoint}`);
  }
  return { named, saved };
}

testDurable(
  "train() has on the disk what it says is saved, and lines of a step before its checkpoint",
  async (folder, disk) => {
    const out = join(folder, "runs", "first");
    const options = { steps: 2, saveEvery: 1, saveTotalLimit: 1 };
    assert.deepEqual(await watchedRun(disk, out, options), {
      named: ["step-000001", "step-000002"],
      saved: ["step-000001", "step-000002"],
    });
    assert.deepEqual(namesIn(join(out, "adapter")), ["adapter_config.json", "adapter_model.safetensors"]);
    assert.deepEqual(disk.lost(folder), []);
  },
);

testDurable(
  "train() that goes on elsewhere has its first checkpoint on the disk before its first step",
  async (folder, disk) => {
    const out = join(folder, "first");
    await watchedRun(disk, out, { steps: 2, saveEvery: 1 });
    const resume = join(out, "checkpoints", "step-000001");
    assert.deepEqual(disk.lost(folder), []);
    await watchedRun(disk, join(folder, "other"), { steps: 2 }, { resume });
    await watchedRun(disk, out, { steps: 2 }, { resume });
    assert.deepEqual(namesIn(join(out, "checkpoints", "set-aside-1")), ["step-000002"]);
  },
);

testDurable(
  "setAside() has the checkpoints that it moved on the disk, in a folder that is",
  async (folder, disk) => {
    await Deno.mkdir(join(folder, "step-000003"));
    disk.settle();
    await setAside(folder, [join(folder, "step-000003")]);
  },
);

testDurable(
  "openMetrics() has its cut on the disk before lines come, and sync() the lines",
  async (folder, disk) => {
    const path = join(folder, "metrics.jsonl");
    await Deno.writeTextFile(path, '{"step":1}\n{"step":2}\n{"step":3}');
    disk.settle();
    for (const step of [2, 1, 0]) {
      using log = await openMetrics(path, step);
      assert.deepEqual(disk.lost(path), []);
      await log.append({ step: step + 1 });
      assert.deepEqual(disk.lost(path), [`bytes of ${path}`]);
      await log.sync();
      assert.deepEqual(disk.lost(path), []);
    }
  },
);

testDurable(
  "saveAdapter() has tensors on the disk before the configuration that vouches for them",
  async (folder, disk) => {
    using model = smallModel();
    const { adapter } = resolveAdapter({ kind: "sparse", options: { neurons: 8 } }, model.config);
    const params = adapter.create(model.kernels, model, 0);
    params.init(model.kernels, 1);
    const out = join(folder, "to", "adapter");
    const named: string[] = [];
    disk.onMove = (to) => {
      named.push(basename(to));
      if (basename(to) === "adapter_config.json") {
        assert.deepEqual(disk.lost(join(out, "adapter_model.safetensors")), []);
      }
    };
    await saveAdapter(model, params, out);
    assert.deepEqual(named, ["adapter_model.safetensors", "adapter_config.json"]);
  },
);

testDurable(
  "writeMergedCheckpoint() has all files on the disk, copied ones and templates too",
  async (folder, disk) => {
    const [base, out] = [join(folder, "base"), join(folder, "merged")];
    await Deno.mkdir(join(base, "additional_chat_templates"), { recursive: true });
    for (const name of ["config.json", "model.safetensors"]) {
      await Deno.copyFile(join(modelFixture("llama3_tied").dir, name), join(base, name));
    }
    await Deno.writeTextFile(join(base, "tokenizer.json"), "{}");
    await Deno.writeTextFile(join(base, "additional_chat_templates", "tool.jinja"), "");
    await Deno.mkdir(out);
    disk.settle();
    using model = openCheckpoint(base, referenceKernels());
    await writeMergedCheckpoint(model, { changes: [], config: {}, dtype: null }, out);
    assert.deepEqual(namesIn(out), [
      "additional_chat_templates",
      "config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
  },
);
