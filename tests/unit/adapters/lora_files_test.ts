// SPDX-License-Identifier: Apache-2.0
/** LoRAs that PEFT saved, on the reference kernels; and what is refused of them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { openAdapterFiles, readAdapterInto } from "../../../lib/adapters/adapter_files.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { UserError } from "../../../lib/core/errors.ts";
import { forwardLogits, lossAndGradients } from "../../../lib/models/decoder.ts";
import { loadModel } from "../../../lib/models/load.ts";
import { liveGradient } from "../../../lib/optim/parameters.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { loadAdapter, saveAdapter } from "../../../lib/train/adapters.ts";
import { LORA_FIXTURES, loraFixture } from "../../fixtures/lora_fixture.ts";
import { assertWithin } from "../../fixtures/model_fixture.ts";
import { parameterBytes } from "../train/small_run.ts";

// Both sides sum in f64 in different orders; the values are of order 1.
const BOUND = 1e-9;
const CONFIG = "adapter_config.json";

for (const name of LORA_FIXTURES) {
  Deno.test(`${name}, saved by PEFT, gives torch's logits and gradients in f64`, async () => {
    const { folder, base, expected } = loraFixture(name);
    const k = referenceKernels();
    using model = loadModel(base.dir, k);
    const saved = await openAdapterFiles(folder);
    const params = resolveAdapter(saved.spec, model.config).adapter.create(k, model, base.batch.ids.length);
    readAdapterInto(k, saved, params);
    const { hooks } = params.attach(k);
    assertWithin("logits", (await forwardLogits(model, base.batch, hooks)).data, expected("logits"), BOUND);
    for (const activations of ["store", "recompute"] as const) {
      for (const parameter of params.parameters) liveGradient(parameter).fill(0);
      await lossAndGradients(model, base.batch, hooks, {
        activations,
        lossScale: 1 / base.batch.targetCount,
      });
      for (const parameter of params.parameters) {
        const gradient = expected(`grad.${parameter.name}`);
        assertWithin(parameter.name, liveGradient(parameter), gradient, BOUND);
      }
    }
  });

  Deno.test(`${name}, saved by PEFT and merged, gives the same logits`, async () => {
    const { folder, base, expected } = loraFixture(name);
    const k = referenceKernels();
    using model = loadModel(base.dir, k);
    const params = await loadAdapter(model, folder);
    const changes = new Map([...params.merge?.(k) ?? []].map((change) => [change.name, change]));
    const merged = model.weights.layers.map((layer) =>
      Object.fromEntries(
        Object.entries(layer).map(([site, weight]) => {
          const change = weight && changes.get(weight.name);
          if (!change) return [site, weight];
          const data = Float64Array.from(weight.data as Float32Array);
          change.apply(data);
          return [site, { ...weight, dtype: "f64", data }];
        }),
      )
    );
    const weights = { ...model.weights, layers: merged as unknown as typeof model.weights.layers };
    const logits = await forwardLogits({ ...model, weights }, base.batch, {});
    assertWithin("logits", logits.data, expected("logits"), BOUND);
  });

  Deno.test(`${name}, saved by PEFT and saved again here, keeps every bit and every option`, async () => {
    const { folder, base } = loraFixture(name);
    using model = loadModel(base.dir, referenceKernels());
    const params = await loadAdapter(model, folder);
    const copy = await Deno.makeTempDir();
    try {
      await saveAdapter(model, params, copy);
      const again = await loadAdapter(model, copy, { onOtherBase: (notice) => assert.fail(notice) });
      assert.deepEqual(parameterBytes(again.parameters), parameterBytes(params.parameters));
      assert.deepEqual(again.adapter.config, params.adapter.config);
      const [theirs, ours] = [folder, copy].map((path) =>
        JSON.parse(Deno.readTextFileSync(join(path, CONFIG)))
      );
      for (const key of ["peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias"]) {
        assert.equal(ours[key], theirs[key], key);
      }
      // Fields that PEFT does not know make it warn; those of the fixture it knows.
      assert.deepEqual(Object.keys(ours).filter((key) => !(key in theirs)), []);
    } finally {
      await Deno.remove(copy, { recursive: true });
    }
  });
}

/** What loading the LoRA says after a change of its configuration. */
async function refusal(change: Record<string, unknown>): Promise<string> {
  const { folder, base } = loraFixture("qwen2_some");
  const copy = await Deno.makeTempDir();
  try {
    const config = { ...JSON.parse(await Deno.readTextFile(join(folder, CONFIG))), ...change };
    await Deno.writeTextFile(join(copy, CONFIG), JSON.stringify(config));
    await Deno.copyFile(join(folder, "adapter_model.safetensors"), join(copy, "adapter_model.safetensors"));
    using model = loadModel(base.dir, referenceKernels());
    const error = await loadAdapter(model, copy).then(() => null, (e: unknown) => e);
    assert.ok(error instanceof UserError, `a UserError, not ${error}`);
    return error.message;
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

Deno.test("loadAdapter() refuses by name, all at once, every option of PEFT that changes the result", async () => {
  const change = {
    use_dora: true,
    bias: "lora_only",
    lora_bias: true,
    modules_to_save: ["lm_head"],
    rank_pattern: { q_proj: 2 },
    alpha_pattern: { q_proj: 2 },
    layers_to_transform: [0],
    layer_replication: [[0, 1]],
    init_lora_weights: "pissa",
    target_parameters: ["mlp.experts"],
    fan_in_fan_out: true,
    some_later_option: 3,
    target_modules: ["q_proj", "lm_head", "model.layers.0.mlp.q_proj"],
  };
  const text = await refusal(change);
  for (const name of Object.keys(change)) assert.ok(text.includes(`"${name}"`), `${name} in ${text}`);
  assert.ok(text.includes('"lm_head", expected only q_proj, k_proj'), text);
  assert.match(text, /has 14 problems/);
});

Deno.test("loadAdapter() checks the numbers of a LoRA, and its tensors against them", async () => {
  const numbers = await refusal({ r: 0, lora_alpha: "16", lora_dropout: 1, use_rslora: 1 });
  for (const problem of ["rank is 0", 'alpha is "16"', "dropout is 1", "useRslora is 1"]) {
    assert.ok(numbers.includes(problem), `${problem} in ${numbers}`);
  }
  const tensors = await refusal({ r: 5, target_modules: ["q_proj", "k_proj", "down_proj"] });
  const name = (module: string) => `tensor "base_model.model.model.layers.1.${module}.weight"`;
  assert.ok(
    tensors.includes(`${name("self_attn.q_proj.lora_A")} has shape (4,24), expected (5,24)`),
    tensors,
  );
  assert.ok(tensors.includes(`${name("self_attn.k_proj.lora_B")} (12,5) is missing`), tensors);
  assert.ok(tensors.includes(`${name("self_attn.v_proj.lora_A")} is unknown`), tensors);
  assert.match(
    await refusal({ target_modules: ".*_proj" }),
    /"target_modules" is "\.\*_proj", expected "all-linear"/,
  );
});
