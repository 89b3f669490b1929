// SPDX-License-Identifier: Apache-2.0
/** A dense branch becomes neurons of feed-forwards that are of ReLU: what the merged model computes is what both did. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { writeMergedCheckpoint } from "../../../lib/merge/merged_checkpoint.ts";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { assertWithin } from "../../compare.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";

/** A checkpoint, the field of its activation, and the one of its width. */
const MODELS = {
  opt: [modelFixture("opt_norm_behind"), "activation_function", "ffn_dim"],
  "opt without biases": [modelFixture("opt_bare_norms"), "activation_function", "ffn_dim"],
  "gpt2, whose weights are kept the other way round": [
    modelFixture("gpt2"),
    "activation_function",
    "n_inner",
  ],
  bert: [checkpointFixture("encoders/bert_labels"), "hidden_act", "intermediate_size"],
  distilbert: [checkpointFixture("encoders/distilbert_labels"), "activation", "hidden_dim"],
} as const;

for (const [name, [{ dir, batch }, activation, width]] of Object.entries(MODELS)) {
  Deno.test(`a dense branch is merged into neurons of ReLU: ${name}`, () =>
    withFolder(async (folder) => {
      const [base, out] = [join(folder, "base"), join(folder, "out")];
      for (const path of [base, out]) await Deno.mkdir(path);
      await Deno.copyFile(join(dir, "model.safetensors"), join(base, "model.safetensors"));
      const fields = JSON.parse(await Deno.readTextFile(join(dir, "config.json")));
      await Deno.writeTextFile(
        join(base, "config.json"),
        JSON.stringify({ ...fields, [activation]: "relu" }),
      );

      using model = openCheckpoint(base, referenceKernels());
      const { adapter, problems } = resolveAdapter(
        { kind: "parallel", options: { neurons: 3 } },
        model.config,
      );
      assert.deepEqual([problems, adapter.mergeRefusal], [[], undefined]);
      const params = adapter.create(model.kernels, model, batch.ids.length);
      params.init(model.kernels, 7);
      for (const parameter of params.parameters) {
        assert.equal(parameter.kind, "dense");
        if (parameter.kind !== "dense") continue;
        // What f32 holds is what a checkpoint holds.
        parameter.data.forEach((_, i) =>
          parameter.data[i] = Math.fround(0.3 * Math.sin(i + parameter.data.length))
        );
      }
      const attached = attachAdapter(model, params);
      const { data: wanted } = await forwardLogits(attached.model, batch, attached.hooks);
      const before = (await forwardLogits(model, batch, {})).data;
      assert.ok(wanted.some((value, i) => Math.abs(value - (before[i] as number)) > 0.01));

      const config = params.mergedConfig ?? {};
      assert.deepEqual(Object.keys(config), [width]);
      const changes = [...params.merge?.(model.kernels) ?? []];
      await writeMergedCheckpoint(model, { changes, config, dtype: null }, out);
      using merged = openCheckpoint(out, referenceKernels());
      assertWithin("logits", (await forwardLogits(merged, batch, {})).data, wanted, 1e-9);
    }));
}

Deno.test("a dense branch beside neurons that are neither of ReLU nor can be is refused", () => {
  for (const name of ["gpt2", "gemma", "opt_bare_norms"]) {
    using model = openCheckpoint(modelFixture(name).dir, referenceKernels());
    const { adapter } = resolveAdapter({ kind: "parallel", options: { neurons: 3 } }, model.config);
    assert.match(
      adapter.mergeRefusal ?? "",
      /^ReLU\(h A\) B needs neurons of ReLU, .* has neither \(llama, /,
    );
  }
});
