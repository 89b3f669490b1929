// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../../lib/core/errors.ts";
import { train } from "../../../lib/train/loop.ts";
import { checkRunFolder, openRunFolder } from "../../../lib/train/run_folder.ts";
import { recordRun } from "../../../lib/train/run_record.ts";
import { plan } from "../../../lib/train/plan.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";
import { withFolder } from "../../fixtures/folder.ts";

Deno.test("openRunFolder() writes what was decided, about which model and data", async () => {
  await withFolder(async (folder) => {
    using model = smallModel();
    const out = join(folder, "run");
    const run = plan(model, smallOptions({ out }));
    {
      using places = await openRunFolder(run, false);
      assert.equal(places?.adapter, join(out, "adapter"));
      await recordRun(out, run, smallData(), { step: 0, flags: null, from: null, predicted: null });
    }
    const record = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    assert.equal(record.method, "sparse");
    assert.equal(record.identity.adapter.neurons, 48);
    assert.equal(record.identity.optimizer.mode, "lazy-exact");
    assert.equal(record.base.hash, run.base.hash);
    assert.match(record.data.hash, /^[0-9a-f]{64}$/);
    assert.equal(record.data.rowsUsed, 12);
    await assert.rejects(openRunFolder(run, false), UserError);
  });
});

Deno.test("openRunFolder() lets one run at a time into a folder", async () => {
  await withFolder(async (out) => {
    using model = smallModel();
    const run = plan(model, smallOptions({ out }));
    {
      using _ = await openRunFolder(run, false);
      await recordRun(out, run, smallData(), { step: 0, flags: null, from: null, predicted: null });
      await assert.rejects(openRunFolder(run, true), /another process is training in it/);
    }
    using second = await openRunFolder(run, true);
    assert.equal(second?.out, out);
  });
});

Deno.test("openRunFolder() removes what killed runs left, by our names alone, and tells", async () => {
  await withFolder(async (out) => {
    using model = smallModel();
    const id = "01234567-89ab-4def-8123-456789abcdef";
    const write = async (path: string) => {
      await Deno.mkdir(join(out, path, ".."), { recursive: true });
      await Deno.writeTextFile(join(out, path), "");
    };
    const ours = [
      `.run.json.${id}.part`,
      `adapter/.adapter_model.safetensors.${id}.part`,
      `adapter/.adapter_config.json.${id}.part`,
      `adapter-2/.adapter_model.safetensors.${id}.part`,
      `.examples.json.${id}.part`,
      `.metrics.jsonl.${id}.part`,
      "checkpoints/.step-000003.partial/state.json",
      `checkpoints/.step-000004.${id}.part/state.json`,
      `.report.html.${id}.part`,
      `..metrics-index.json.${id}.part`,
    ];
    const foreign = [
      `.notes.txt.${id}.part`,
      ".run.json.part",
      `adapter-of-mine/.adapter_model.safetensors.${id}.part`,
      `run.json.${id}.part`,
      ".run.json.1234.part",
      `.examples.json.${id}.part.bak`,
      `checkpoints/.step-3.${id}.part`,
      "checkpoints/.step-000003.partial.mine",
      `.report.html.${id.replace("0", "1")}.part`, // of a report's process that writes it now
    ];
    for (const path of [...ours, ...foreign]) await write(path);
    const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000);
    for (const path of ours.slice(-2)) await Deno.utime(join(out, path), longAgo, longAgo);
    const told: string[] = [];
    using _ = await openRunFolder(plan(model, smallOptions({ out })), false, {
      onWarning: (text) => void told.push(text),
    });
    assert.match(told.join("\n"), /^removed 10 left-overs of a killed run: .*\.run\.json\..*$/);
    const isThere = (path: string) => Deno.stat(join(out, path)).then(() => true, () => false);
    for (const path of ours) assert.equal(await isThere(path), false, path);
    for (const path of foreign) assert.equal(await isThere(path), true, path);
  });
});

Deno.test("openRunFolder() says what is in the way of a folder that cannot be made", async () => {
  await withFolder(async (folder) => {
    using model = smallModel();
    const file = join(folder, "file");
    await Deno.writeTextFile(file, "");
    for (const out of [file, join(file, "run")]) {
      const opening = openRunFolder(plan(model, smallOptions({ out })), false);
      await assert.rejects(opening, (error) => {
        assert(error instanceof UserError, String(error));
        assert(error.message.startsWith(`Cannot make ${out}: `), error.message);
        return true;
      });
    }
  });
});

Deno.test("train() that cannot resume leaves run.json as it was", async () => {
  await withFolder(async (out) => {
    using model = smallModel();
    for await (const _ of train(plan(model, smallOptions({ out, steps: 1 })), smallData()));
    const before = await Deno.readTextFile(join(out, "run.json"));
    const other = plan(model, smallOptions({ out, steps: 2, seed: 1 }));
    await assert.rejects(
      train(other, smallData(), { resume: true }).next(),
      /--seed is 1, the run has 42: leave it/,
    );
    assert.equal(await Deno.readTextFile(join(out, "run.json")), before);
  });
});

Deno.test("train() whose folder is removed or replaced under it says so when it is to save, and makes no folder anew", async () => {
  for (const replaced of [false, true]) {
    await withFolder(async (folder) => {
      using model = smallModel();
      const out = join(folder, "run");
      const run = plan(model, smallOptions({ out, saveEvery: 2 }));
      const events = train(run, smallData());
      await events.next();
      await Deno.rename(out, join(folder, "elsewhere"));
      if (replaced) await Deno.mkdir(out);
      await assert.rejects(async () => {
        for await (const _ of events);
      }, /run was removed or replaced while the run was training in it: start it again/);
      assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
        "elsewhere",
        ...(replaced ? ["run"] : []),
      ]);
      events.adapter?.release();
    });
  }
});

Deno.test("train() whose folder is removed while it saves says that, not which file of the checkpoint found no folder", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const [out, elsewhere] = [join(folder, "run"), join(folder, "elsewhere")];
    const kernels = model.kernels as { read: typeof model.kernels.read };
    const read: typeof kernels.read = kernels.read.bind(kernels);
    kernels.read = (floats) => {
      const checkpoints = join(out, "checkpoints");
      const isSaving = existsSync(checkpoints) && [...Deno.readDirSync(checkpoints)].length > 0;
      if (isSaving) Deno.renameSync(out, elsewhere);
      return read(floats);
    };
    const run = plan(model, smallOptions({ out, saveEvery: 1 }));
    const training = train(run, smallData());
    await assert.rejects(async () => {
      for await (const _ of training);
    }, { message: `${out} was removed or replaced while the run was training in it: start it again` });
    assert.ok(existsSync(elsewhere));
    training.adapter?.release();
  }));

Deno.test("checkRunFolder() finds out what openRunFolder() would say, and leaves the folder to it", async () => {
  await withFolder(async (folder) => {
    using model = smallModel();
    const out = join(folder, "run");
    await checkRunFolder(out, false);
    assert.equal(existsSync(out), false);
    await assert.rejects(checkRunFolder(out, true), /There is no run in .*run to resume/);
    await Deno.mkdir(out);
    await checkRunFolder(out, false);
    const run = plan(model, smallOptions({ out }));
    {
      using _ = await openRunFolder(run, false);
      await assert.rejects(checkRunFolder(out, false), /another process is training in it/);
    }
    await Deno.writeTextFile(join(out, "run.json"), "{}");
    await assert.rejects(checkRunFolder(out, false), /already holds a run \(run\.json\)/);
    await checkRunFolder(out, true);
    await checkRunFolder(out, true);
    const gone = join(folder, "gone");
    await assert.rejects(checkRunFolder(join(out, "run.json", "x"), true), /There is no run/);
    assert.equal(await openRunFolder(plan(model, smallOptions({ out: null })), false), null);
    await assert.rejects(
      openRunFolder(plan(model, smallOptions({ out: null })), true),
      /There is nothing to resume: the run has no folder/,
    );
    using places = await openRunFolder(plan(model, smallOptions({ out: gone })), false);
    const { [Symbol.dispose]: _, assertThere, ...paths } = places ?? assert.fail("the run has a folder");
    assert.deepEqual(paths, {
      out: gone,
      checkpoints: join(gone, "checkpoints"),
      adapter: join(gone, "adapter"),
      metrics: join(gone, "metrics.jsonl"),
    });
    await assertThere();
  });
});

Deno.test("openRunFolder() looks again once the folder is its own: another process may have trained there meanwhile", async () => {
  await withFolder(async (out) => {
    using model = smallModel();
    const run = plan(model, smallOptions({ out }));
    const { tryLock } = Deno.FsFile.prototype;
    Deno.FsFile.prototype.tryLock = async function () {
      await Deno.writeTextFile(join(out, "run.json"), "{}");
      return await tryLock.call(this, true);
    };
    try {
      await assert.rejects(openRunFolder(run, false), /already holds a run \(run\.json\)/);
    } finally {
      Deno.FsFile.prototype.tryLock = tryLock;
    }
    using places = await openRunFolder(run, true); // the lock was given back
    assert.equal(places?.out, out);
  });
});
