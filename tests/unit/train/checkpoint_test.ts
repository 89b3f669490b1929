// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../../compare.ts";
import { MachineError, UserError } from "../../../lib/core/errors.ts";
import { trainingSteps } from "../../../lib/data/batches.ts";
import type { Model } from "../../../lib/models/model.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { loadCheckpoint, newestCheckpoint, saveCheckpoint } from "../../../lib/train/checkpoint.ts";
import { listCheckpoints } from "../../../lib/train/checkpoint_folder.ts";
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

/** Writes a checkpoint's manifest anew, with other files. */
async function editManifest(path: string, edit: (files: object[]) => object[]): Promise<void> {
  const manifest = JSON.parse(await Deno.readTextFile(join(path, "manifest.json")));
  await Deno.writeTextFile(
    join(path, "manifest.json"),
    JSON.stringify({ ...manifest, files: edit(manifest.files) }),
  );
}

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
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
    assertSame(parameterBytes(loaded.params.parameters), parameterBytes(state.params.parameters));
    assertSame(loaded.optim.moments, state.optim.moments);
    assertSame(loaded.optim.lrHistory, state.optim.lrHistory.slice(0, 3));
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
      "a file that lacks its last byte",
      async (path: string) => {
        const file = join(path, "optimizer.safetensors");
        await Deno.truncate(file, (await Deno.stat(file)).size - 1);
      },
      /optimizer.safetensors is truncated: \d+ bytes of \d+/,
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
      /manifest.json is not JSON/,
    ],
    [
      "a manifest of no files",
      (path: string) => Deno.writeTextFile(join(path, "manifest.json"), '{"format_version": 1, "files": []}'),
      /does not list parameters.safetensors; manifest.json does not list optimizer.safetensors; .*state.json/,
    ],
    [
      "a manifest that leaves out a file",
      (path: string) => editManifest(path, (files) => files.slice(1)),
      /manifest.json does not list parameters.safetensors/,
    ],
    [
      "a manifest that lists a file twice",
      (path: string) => editManifest(path, (files) => [...files, files[0] as object]),
      /manifest.json lists "parameters.safetensors" twice/,
    ],
    [
      "a manifest that leads out of the folder",
      (path: string) =>
        editManifest(path, (files) => [...files, { ...files[2], name: "../step-000002/state.json" }]),
      /manifest.json lists "..\/step-000002\/state.json", which is no file of a checkpoint/,
    ],
    [
      "a manifest with a size below zero",
      (path: string) => editManifest(path, (files) => files.map((file) => ({ ...file, bytes: -1 }))),
      /manifest.json is not a manifest/,
    ],
    [
      "a folder in a file's place",
      async (path: string) => {
        await Deno.remove(join(path, "state.json"));
        await Deno.mkdir(join(path, "state.json"));
      },
      /state.json is no file/,
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

Deno.test("saveCheckpoint() never removes what it just saved, nor later ones, whatever the limit", async () => {
  await withCheckpoints(async (folder, model, _run, state) => {
    for (const step of [2, 3]) {
      await Deno.rename(join(folder, `step-00000${step}`), join(folder, `step-00009${step}`));
    }
    const one = plan(model, smallOptions({ saveTotalLimit: 1 }));
    const path = await saveCheckpoint(one, state, HASH, folder);
    assert.equal(path, join(folder, "step-000003"));
    assert.deepEqual(namesIn(folder), ["step-000003", "step-000092", "step-000093"]);
    assert.equal((await loadCheckpoint(one, HASH, path)).step, 3);
  });
});

Deno.test("saveCheckpoint() warns of an old checkpoint that cannot be removed, and removes it the next time", async () => {
  await withCheckpoints(async (folder, model, _run, state) => {
    const one = plan(model, smallOptions({ saveTotalLimit: 2 }));
    const warnings: string[] = [];
    const onWarning = (text: string) => void warnings.push(text);
    const refuses = (path: string) => Promise.reject(new UserError(`Cannot remove ${path}: it is held`));
    await saveCheckpoint(one, state, HASH, folder, { onWarning, remove: refuses });
    assert.match(
      warnings.join("\n"),
      /^Cannot remove .*step-000001.*: it is held; it is no longer needed, and its removal is tried again later$/,
    );
    const left = namesIn(folder);
    assert.deepEqual(left.slice(1), ["step-000002", "step-000003"]);
    assert.match(left[0] as string, /^\.step-000001\..*\.part$/);
    await saveCheckpoint(one, state, HASH, folder, { onWarning });
    assert.deepEqual(namesIn(folder), ["step-000002", "step-000003"]);
    assert.equal(warnings.length, 1);
  });
});

Deno.test("saveCheckpoint() sets a whole checkpoint of another run aside where its own is to stand", async () => {
  await withCheckpoints(async (folder, model, _run, state) => {
    const path = await saveCheckpoint(plan(model, smallOptions({ seed: 43 })), state, HASH, folder);
    const other = plan(model, smallOptions({ seed: 43 }));
    assert.equal((await loadCheckpoint(other, HASH, path)).step, 3);
    const aside = join(folder, "set-aside-1", "step-000003");
    assert.equal((await loadCheckpoint(plan(model, smallOptions()), HASH, aside)).step, 3);
  });
});

Deno.test("listCheckpoints() takes folders of its own names alone", async () => {
  await withCheckpoints(async (folder) => {
    for (const name of ["step-7", "step-0000007", "step-000007.old", ".step-000007"]) {
      await Deno.mkdir(join(folder, name));
    }
    await Deno.writeTextFile(join(folder, "step-000008"), "");
    assert.deepEqual((await listCheckpoints(folder)).map(({ step }) => step), [1, 2, 3]);
  });
});

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
        "--lr is 0.5, the run has 0.02: leave it as it was, or begin a new run",
        "--weight-decay is 0.1, the run has 0: leave",
        "--seed is 1, the run has 42: leave",
        "the data differs",
      ]
    ) assert.ok(error.message.includes(difference), `${difference} in: ${error.message}`);
    assert.match(error.message, /has 4 problems/);
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

Deno.test("saveCheckpoint() asks for room for all of its files, with a MiB to spare", async () => {
  await withCheckpoints(async (folder, _model, run, state) => {
    const newest = join(folder, "step-000003");
    const bytes = namesIn(newest).reduce((sum, name) => sum + Deno.statSync(join(newest, name)).size, 0);
    await Deno.remove(newest, { recursive: true });
    const saving = (free: number) =>
      saveCheckpoint(run, state, HASH, folder, { freeBytes: () => Promise.resolve(free) });
    const { message } = await failure(saving(bytes - 1));
    const needed = Number(/^Cannot write .*step-000003: it needs (\d+) bytes/.exec(message)?.[1]);
    // Headers and JSON are not predicted.
    assert.ok(needed <= bytes + 2 ** 20 && needed >= bytes + 2 ** 20 - 2 ** 15, `${needed} for ${bytes}`);
    await saving(needed);
  });
});

Deno.test("saveCheckpoint() that fails leaves what stands at its place, and nothing unfinished", async () => {
  await withCheckpoints(async (folder, model, _run, state) => {
    const other = plan(model, smallOptions({ seed: 43 }));
    const { rename } = Deno;
    for (const name of ["parameters.safetensors", "manifest.json", "step-000003"]) {
      Deno.rename = (from, to) =>
        String(to).endsWith(name) && String(from).endsWith(".part")
          ? Promise.reject(new Error("Input/output error (os error 5)"))
          : rename(from, to);
      try {
        const error = await failure(saveCheckpoint(other, state, HASH, folder));
        assert.match(error.message, /^Cannot write .*step-000003: Input\/output error/, name);
      } finally {
        Deno.rename = rename;
      }
      if (name === "step-000003") continue;
      assert.deepEqual(namesIn(folder), ["step-000001", "step-000002", "step-000003"], name);
      assert.equal(await newestCheckpoint(folder), join(folder, "step-000003"));
    }
    assert.deepEqual(namesIn(folder), ["set-aside-1", "step-000001", "step-000002"]);
  });
});

Deno.test("saveCheckpoint() does not take a checkpoint of another step under its name for its own", async () => {
  await withCheckpoints(async (folder, model, run, state) => {
    await Deno.remove(join(folder, "step-000003"), { recursive: true });
    await Deno.rename(join(folder, "step-000002"), join(folder, "step-000003"));
    const path = await saveCheckpoint(run, state, HASH, folder);
    assert.equal((await loadCheckpoint(plan(model, smallOptions()), HASH, path)).step, 3);
    const aside = join(folder, "set-aside-1", "step-000003");
    assert.equal((await loadCheckpoint(plan(model, smallOptions()), HASH, aside)).step, 2);
  });
});

/** What this process has open. */
function openFiles(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      return [Deno.readLinkSync(`/proc/self/fd/${name}`)];
    } catch {
      return []; // closed meanwhile
    }
  });
}

Deno.test({
  name: "loadCheckpoint() and saveCheckpoint() leave no file open",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await withCheckpoints(async (folder, model, run, state) => {
      const open = () => openFiles().filter((file) => file.startsWith(folder));
      const path = join(folder, "step-000003");
      const again = async () => {
        await loadCheckpoint(plan(model, smallOptions()), HASH, path);
        await Deno.truncate(join(path, "state.json"), 1);
        await saveCheckpoint(run, state, HASH, folder);
      };
      const file = Deno.openSync(join(path, "manifest.json"));
      assert.equal(open().length, 1);
      file.close();
      for (let i = 0; i < 3; i++) await again();
      assert.deepEqual(open(), []);
    });
  },
});
