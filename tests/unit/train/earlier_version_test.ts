// SPDX-License-Identifier: Apache-2.0
/**
 * What version 0.1.0 wrote before the engine was rebuilt goes on to the bytes that it went on to itself: for each kind of
 * training the folder of a run of six steps that was killed after its third, with a checkpoint of the second, and what the
 * same run gave when it was left alone.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { full, lora, parallel, sparse } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { renewRunReport } from "../../../lib/report/run_report.ts";
import { loadAdapter, saveAdapter } from "../../../lib/train/adapters.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { assertSame } from "../../compare.ts";
import { copy } from "../../../scripts/folders.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { plainSafetensors } from "../../fixtures/plain_safetensors.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

const RUNS = fileURLToPath(new URL("../../fixtures/earlier_version/runs", import.meta.url));

/** With these options that version made the folders. */
const sizes = { neurons: 16, experts: 4, activeExperts: 2, topK: 3 };
const OPTIONS: Readonly<Record<string, RunOptions>> = {
  sparse: {
    ...{ activations: "recompute", halves: 2, placement: "device", cachedRows: 10 },
    method: sparse(sizes),
  },
  "sparse-union-frozen": {
    method: sparse({ ...sizes, gate: "softmax", scope: "union", keys: "frozen" }),
    optimizer: adamw({ lr: 0.02, mode: "lazy" }),
    activations: "recompute",
  },
  parallel: { method: parallel({ neurons: 8 }), optimizer: adamw({ lr: 0.02, weightDecay: 0.1 }) },
  lora: {
    method: lora({
      ...{ rank: 2, targets: ["q", "down"], dropout: 0.25 },
      rankPattern: { "layers.1.self_attn.q_proj": 3 },
    }),
    activations: "recompute",
  },
  full: { method: full() },
};

/** What a step computed, without times, and without what its activations took: that has become less since. */
function numbersOf(path: string): unknown[] {
  return Deno.readTextFileSync(path).trimEnd().split("\n").map((line) => {
    const { step, loss, tokens, targets, lr, gradNorm, activeNeurons, expertLoad } = JSON.parse(line);
    return { step, loss, tokens, targets, lr, gradNorm, activeNeurons, expertLoad };
  });
}

for (const [name, options] of Object.entries(OPTIONS)) {
  Deno.test(`a run of version 0.1.0 resumes to the bytes that it gave then: ${name}`, () =>
    withFolder(async (folder) => {
      const out = join(folder, "run");
      await copy(join(RUNS, name), out);
      using model = smallModel();
      const run = plan(model, smallOptions({ steps: 6, saveEvery: 2, ...options, out }));
      const events = await Array.fromAsync(train(run, smallData(), { resume: true }));
      assert.deepEqual(events.map(({ step }) => step), [3, 4, 5, 6]);
      assert.deepEqual(numbersOf(join(out, "metrics.jsonl")), numbersOf(join(out, "finished_metrics.jsonl")));
      const [now, then] = ["adapter", "finished_adapter"].map((at) =>
        plainSafetensors(join(out, at, "adapter_model.safetensors"))
      );
      assertSame(now, then);
      const { body } = await renewRunReport(out, null);
      assert.match(body, /6 of 6 steps|6 steps/);
    }));

  Deno.test(`an adapter of version 0.1.0 is what it was: ${name}`, () =>
    withFolder(async (folder) => {
      using model = smallModel();
      const saved = join(RUNS, name, "finished_adapter");
      await saveAdapter(model, await loadAdapter(model, saved), folder);
      const [now, then] = [folder, saved].map((at) =>
        plainSafetensors(join(at, "adapter_model.safetensors"))
      );
      assertSame(now, then);
    }));
}
