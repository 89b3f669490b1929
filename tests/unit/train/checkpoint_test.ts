// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { MachineError, UserError } from "../../../lib/core/errors.ts";
import { trainingSteps } from "../../../lib/data/batches.ts";
import type { Model } from "../../../lib/models/model.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import {
  listCheckpoints,
  loadCheckpoint,
  newestCheckpoint,
  saveCheckpoint,
} from "../../../lib/train/checkpoint.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { init, type TrainState } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "./small_run.ts";

const HASH = "a hash of the data";

/** A run after `steps` steps. */
async function trained(
  model: Model,
  steps: number,
  options: RunOptions = {},
): Promise<{ run: Run; state: TrainState }> {
  const run = plan(model, smallOptions(options));
  let state = init(run);
  for (const data of trainingSteps(smallData(), batchOptions(run))) {
    if (state.step === steps) break;
    [state] = await trainStep(run, state, data);
  }
  return { run, state };
}

/** Three checkpoints, of steps 1 to 3, in a folder that is removed afterwards. */
async function withCheckpoints(
  use: (folder: string, model: Model, run: Run, state: TrainState) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    using model = smallModel();
    const run = plan(model, smallOptions());
    let state = init(run);
    for (const data of trainingSteps(smallData(), batchOptions(run))) {
      if (state.step === 3) break;
      [state] = await trainStep(run, state, data);
      await saveCheckpoint(run, state, HASH, folder);
    }
    await use(folder, model, run, state);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function failure(promise: Promise<unknown>): Promise<UserError> {
  const error = await promise.then(() => null, (e: unknown) => e);
  assert.ok(error instanceof UserError || error instanceof MachineError, `an error for users, not ${error}`);
  return error;
}

Deno.test("loadCheckpoint() gives back every bit of what saveCheckpoint() wrote", async () => {
  await withCheckpoints(async (folder, model, _run, state) => {
    const other = plan(model, smallOptions());
    const path = await newestCheckpoint(folder);
    assert.equal(path, join(folder, "step-000003"));
    const loaded = await loadCheckpoint(other, HASH, path);
    assert.equal(loaded.step, 3);
    assert.deepEqual(loaded.position, state.position);
    assert.deepEqual(parameterBytes(loaded.params.parameters), parameterBytes(state.params.parameters));
    assert.deepEqual(loaded.optim.moments, state.optim.moments);
    assert.deepEqual(loaded.optim.lrHistory, state.optim.lrHistory.slice(0, 3));
  });
});

Deno.test("saveCheckpoint() keeps the newest ones up to the limit, and nothing half-written", async () => {
  await withCheckpoints(async (folder, _model, run, state) => {
    await Deno.mkdir(join(folder, ".step-000002.partial"));
    const [next] = await trainStep(run, state, trainingSteps(smallData(), batchOptions(run)).next().value);
    await saveCheckpoint(run, next, HASH, folder);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assert.deepEqual(names, ["step-000002", "step-000003", "step-000004"]);
  });
});

Deno.test("saveCheckpoint() says how many bytes it needs when the disk is full, and leaves the others alone", async () => {
  await withCheckpoints(async (folder, _model, run, state) => {
    const [next] = await trainStep(run, state, trainingSteps(smallData(), batchOptions(run)).next().value);
    const full = { freeBytes: () => Promise.resolve(1000) };
    const error = await failure(saveCheckpoint(run, next, HASH, folder, full));
    assert.match(
      error.message,
      /^Cannot write .*step-000004: it needs \d+ bytes and the disk has 1000 left; free some space/,
    );
    assert.deepEqual((await listCheckpoints(folder)).map(({ step }) => step), [1, 2, 3]);
    assert.equal(await newestCheckpoint(folder), join(folder, "step-000003"));
  });
});

for (
  const [title, damage, reason] of [
    [
      "a truncated file",
      (path: string) => Deno.truncate(join(path, "optimizer.safetensors"), 100),
      /optimizer.safetensors is truncated: 100 bytes of \d+/,
    ],
    [
      "an empty file",
      (path: string) => Deno.truncate(join(path, "parameters.safetensors"), 0),
      /parameters.safetensors is truncated: 0 bytes of \d+/,
    ],
    [
      "a file with one bit turned",
      async (path: string) => {
        const file = join(path, "parameters.safetensors");
        const bytes = await Deno.readFile(file);
        bytes[bytes.length - 9] = (bytes.at(-9) as number) ^ 1;
        await Deno.writeFile(file, bytes);
      },
      /parameters.safetensors is corrupt: its hash is not the manifest's/,
    ],
    [
      "a file that grew",
      (path: string) => Deno.writeTextFile(join(path, "state.json"), "x", { append: true }),
      /state.json has \d+ bytes, expected \d+/,
    ],
    ["a missing file", (path: string) => Deno.remove(join(path, "state.json")), /state.json is missing/],
    [
      "a missing manifest",
      (path: string) => Deno.remove(join(path, "manifest.json")),
      /manifest.json is missing/,
    ],
    [
      "a manifest that is no JSON",
      (path: string) => Deno.writeTextFile(join(path, "manifest.json"), '{"files": ['),
      /manifest.json cannot be read/,
    ],
    [
      "a manifest of something else",
      (path: string) => Deno.writeTextFile(join(path, "manifest.json"), '{"files": [{}]}'),
      /manifest.json is not a manifest/,
    ],
  ] as const
) {
  Deno.test(`newestCheckpoint() and loadCheckpoint() report ${title} and name the newest complete checkpoint`, async () => {
    await withCheckpoints(async (folder, _model, run) => {
      const newest = join(folder, "step-000003");
      await damage(newest);
      for (const attempt of [() => newestCheckpoint(folder), () => loadCheckpoint(run, HASH, newest)]) {
        const error = await failure(attempt());
        assert.match(error.message, reason);
        assert.ok(error.message.startsWith(`Checkpoint ${newest} is damaged: `), error.message);
        assert.ok(
          error.message.includes(`the newest complete one is ${join(folder, "step-000002")}`),
          error.message,
        );
      }
      assert.equal((await loadCheckpoint(run, HASH, join(folder, "step-000002"))).step, 2);
    });
  });
}

Deno.test("saveCheckpoint() replaces a damaged checkpoint of the same step", async () => {
  await withCheckpoints(async (folder, _model, run, state) => {
    await Deno.truncate(join(folder, "step-000003", "parameters.safetensors"), 9);
    await saveCheckpoint(run, state, HASH, folder);
    assert.equal(await newestCheckpoint(folder), join(folder, "step-000003"));
  });
});

Deno.test("loadCheckpoint() refuses another configuration or other data and lists every difference", async () => {
  await withCheckpoints(async (folder, model) => {
    const changed = plan(
      model,
      smallOptions({
        optimizer: adamw({ lr: 0.5, weightDecay: 0.1 }),
        batch: { size: 4, micro: 4, seqLen: 12 },
        seed: 1,
      }),
    );
    const error = await failure(loadCheckpoint(changed, "other data", join(folder, "step-000003")));
    for (
      const difference of [
        "optimizer.lr is 0.5, the checkpoint has 0.02",
        "optimizer.weightDecay is 0.1, the checkpoint has 0",
        "batch.micro is 4, the checkpoint has 2",
        "seed is 1, the checkpoint has 42",
        "the data differs",
      ]
    ) assert.ok(error.message.includes(difference), `${difference} in: ${error.message}`);
    assert.match(error.message, /has 5 problems/);
  });
});

Deno.test("newestCheckpoint() is null where there is none, and a named one that is missing is an error", async () => {
  const folder = await Deno.makeTempDir();
  try {
    assert.equal(await newestCheckpoint(folder), null);
    assert.equal(await newestCheckpoint(join(folder, "nowhere")), null);
    using model = smallModel();
    const { run } = await trained(model, 0);
    const error = await failure(loadCheckpoint(run, HASH, join(folder, "step-000001")));
    assert.match(error.message, /There is no checkpoint .*step-000001/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
