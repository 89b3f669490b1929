// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../../lib/core/errors.ts";
import { openMetrics, openRunFolder } from "../../../lib/train/run_folder.ts";
import { plan } from "../../../lib/train/plan.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("openMetrics() takes back lines after the step, lines cut short and lines of something else", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    await Deno.writeTextFile(path, '{"step":1}\n{"step":2}\nnull\n{"step":"2"}\n{"step":3}\n{"step":2,"lo');
    {
      await using log = await openMetrics(path, 2);
      await log.append({ step: 3, loss: 0.5 });
      await log.sync();
    }
    assert.equal(await Deno.readTextFile(path), '{"step":1}\n{"step":2}\n{"step":3,"loss":0.5}\n');
  });
});

Deno.test("openRunFolder() writes what was decided, about which model and data", async () => {
  await withFolder(async (folder) => {
    using model = smallModel();
    const out = join(folder, "run");
    const run = plan(model, smallOptions({ out }));
    const places = await openRunFolder(run, smallData(), false);
    assert.equal(places?.adapter, join(out, "adapter"));
    const record = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    assert.equal(record.method, "sparse");
    assert.equal(record.identity.adapter.neurons, 48);
    assert.equal(record.identity.optimizer.mode, "lazy-exact");
    assert.equal(record.base.hash, run.base.hash);
    assert.match(record.data.hash, /^[0-9a-f]{64}$/);
    assert.equal(record.data.rowsUsed, 12);
    await assert.rejects(openRunFolder(run, smallData(), false), UserError);
  });
});
