// SPDX-License-Identifier: Apache-2.0
/** A head for other labels than the checkpoint's: begun anew, saved, opened with its adapter, merged; and what is refused. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import { lora, parallel } from "../../../lib/methods/methods.ts";
import { mergeAdapter } from "../../../lib/merge/merge.ts";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { moduleOf } from "../../../lib/models/tensor_names.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { loadAdapter, openAdapter, openingOf, saveAdapter } from "../../../lib/train/adapters.ts";
import { openTask } from "../../../lib/train/open_task.ts";
import { plan } from "../../../lib/train/plan.ts";
import { assertSame, assertWithin } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";

const LABELS = ["amber", "blue", "crimson", "dun", "ecru"];

async function rowsIn(folder: string): Promise<string> {
  const path = join(folder, "rows.jsonl");
  const rows = [...LABELS].reverse().map((label) => JSON.stringify({ text: "a b", label }));
  await Deno.writeTextFile(path, rows.join("\n"));
  return path;
}

/** What of each head begins anew; layers before that are the checkpoint's. */
const FRESH: Readonly<Record<string, readonly string[]>> = {
  "heads/llama_labels": ["score.weight"],
  "encoders/bert_labels": ["classifier.weight", "classifier.bias"],
  "encoders/distilbert_labels": ["classifier.weight", "classifier.bias"],
  "encoders/modernbert_labels": ["classifier.weight", "classifier.bias"],
};

for (const [name, fresh] of Object.entries(FRESH)) {
  Deno.test(`${name} gets a head for the labels of the data, which its adapter brings along`, () =>
    withFolder(async (folder) => {
      const [{ dir, batch }, k] = [checkpointFixture(name), referenceKernels()];
      const data = [await rowsIn(folder)];
      const { head } = await openTask({ task: "classification", model: dir, data, newHead: true });
      assert.deepEqual(head, { kind: "classification", gives: "classes", labels: LABELS, fresh: true });
      using own = openCheckpoint(dir, k);
      using model = openCheckpoint(dir, k, { head });
      assert.deepEqual([...model.fresh].sort(), [...fresh].sort());
      assert.deepEqual(model.warnings, own.warnings, "it was asked for");
      for (const method of [lora({ rank: 1 }), parallel({ neurons: 2 })]) {
        const run = plan(model, { method, steps: 1, batch: { seqLen: 8 } });
        const params = run.adapterKind.create(k, model, 8);
        params.init(k, 5);
        const outputs = async (opened: typeof model, of: typeof params) => {
          const attached = attachAdapter(opened, of);
          const { shape, data } = await forwardLogits(attached.model, batch, attached.hooks);
          assert.equal(shape[1], LABELS.length);
          return data;
        };
        const expected = await outputs(model, params);
        const adapter = join(folder, `adapter-${method.name}`);
        await saveAdapter(model, params, adapter);
        const saved = await openAdapter(adapter);
        assert.deepEqual(saved.head, head);
        using again = openCheckpoint(dir, k, openingOf(saved));
        assertSame(await outputs(again, await loadAdapter(again, saved)), expected);
        const modules = new Set(params.parameters.map((parameter) => moduleOf(parameter.name)));
        for (const tensor of fresh) assert.ok(modules.has(`base_model.model.${moduleOf(tensor)}`), tensor);
        if (method.name !== "lora") continue;
        const out = join(folder, "merged");
        await mergeAdapter({ adapter, model: dir, out, dtype: "f32", threads: 1 });
        using merged = openCheckpoint(out, k);
        assert.ok(merged.config.head.kind === "classification");
        assert.deepEqual([merged.config.head.labels, merged.fresh.size], [LABELS, 0]);
        assertWithin("merged", (await forwardLogits(merged, batch, {})).data, expected, 1e-4);
      }
    }));
}

Deno.test("without newHead a model keeps its labels, and newHead is for heads that there can be", () =>
  withFolder(async (folder) => {
    const { dir } = checkpointFixture("encoders/bert_labels");
    const data = [await rowsIn(folder)];
    using own = openCheckpoint(dir, referenceKernels());
    assert.deepEqual((await openTask({ task: "classification", model: dir, data })).head, own.config.head);
    const value = await openTask({
      task: "regression",
      model: checkpointFixture("encoders/roberta_value").dir,
      data,
      newHead: true,
    });
    assert.equal("fresh" in value.head && value.head.fresh, true);
    const masked = checkpointFixture("encoders/bert_masked").dir;
    await assert.rejects(
      openTask({ model: masked, data, newHead: true }),
      /masked-lm has the head of the vocabulary/,
    );
    const saved = { ...own.config.head };
    await assert.rejects(
      openTask({ model: dir, data, saved, newHead: true }),
      /the adapter brings its own head/,
    );
  }));
