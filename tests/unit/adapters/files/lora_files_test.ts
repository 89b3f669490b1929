// SPDX-License-Identifier: Apache-2.0
/** LoRAs that PEFT saved, on the reference kernels; and what is refused of them. */
import { buildParts } from "../../../../lib/models/families/registry.ts";
import { allTensors } from "../../../../lib/models/part_tensors.ts";
import type { Weight } from "../../../../lib/tensor/tensor.ts";
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame, assertWithin } from "../../../compare.ts";
import { openAdapterFiles } from "../../../../lib/adapters/files/adapter_files.ts";
import { readAdapterInto } from "../../../../lib/adapters/files/saved_adapter.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import { UserError } from "../../../../lib/core/errors.ts";
import { forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { liveGradient } from "../../../../lib/optim/parameters.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../../lib/tensor/safetensors.ts";
import { writeSafetensors } from "../../../../lib/tensor/write_safetensors.ts";
import { loadAdapter, saveAdapter } from "../../../../lib/train/adapters.ts";
import { LORA_FIXTURES, loraFixture } from "../../../fixtures/lora_fixture.ts";
import { parameterBytes } from "../../train/small_run.ts";

// Both sides sum in f64 in different orders; the values are of order 1.
const BOUND = 1e-9;
const CONFIG = "adapter_config.json";
const TENSORS = "adapter_model.safetensors";

for (const name of LORA_FIXTURES) {
  Deno.test(`${name}, saved by PEFT, gives torch's logits and gradients in f64`, async () => {
    const { folder, base, expected } = loraFixture(name);
    const k = referenceKernels();
    using model = openCheckpoint(base.dir, k);
    const saved = await openAdapterFiles(folder);
    const params = resolveAdapter(saved.spec, model.config).adapter.create(k, model, base.batch.ids.length);
    readAdapterInto(model, saved, params);
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
    using model = openCheckpoint(base.dir, k);
    const params = await loadAdapter(model, folder);
    const changes = new Map([...params.merge?.(k) ?? []].map((change) => [change.name, change]));
    const weights = new Map(allTensors(model.parts).map((weight) => [weight.name, weight]));
    const parts = buildParts(model.config, (name): Weight => {
      const [weight, change] = [weights.get(name) as Weight, changes.get(name)];
      if (!change) return weight;
      const data = Float64Array.from(weight.data as Float32Array);
      change.apply(data);
      return { ...weight, dtype: "f64", data };
    });
    const logits = await forwardLogits({ ...model, parts }, base.batch, {});
    assertWithin("logits", logits.data, expected("logits"), BOUND);
  });

  Deno.test(`${name}, saved by PEFT and saved again here, keeps every bit and every option`, async () => {
    const { folder, base } = loraFixture(name);
    using model = openCheckpoint(base.dir, referenceKernels());
    const params = await loadAdapter(model, folder);
    const copy = await Deno.makeTempDir();
    try {
      await saveAdapter(model, params, copy);
      const again = await loadAdapter(model, copy, { onOtherBase: (notice) => assert.fail(notice) });
      assertSame(parameterBytes(again.parameters), parameterBytes(params.parameters));
      assert.deepEqual(again.adapter.config, params.adapter.config);
      const [theirs, ours] = [folder, copy].map((path) =>
        JSON.parse(Deno.readTextFileSync(join(path, CONFIG)))
      );
      for (const key of ["peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias"]) {
        assert.equal(ours[key], theirs[key], key);
      }
      // What PEFT had of a model without its head is told by whole names.
      if (name !== "llama_bare") {
        for (const key of ["exclude_modules", "layers_to_transform", "layers_pattern"]) {
          assert.deepEqual(ours[key] ?? null, theirs[key], key);
        }
        for (const key of ["rank_pattern", "alpha_pattern"]) {
          assert.deepEqual(ours[key] ?? {}, theirs[key], key);
        }
        if (typeof theirs.target_modules === "string") {
          assert.equal(ours.target_modules, theirs.target_modules);
        }
      }
      // Fields that PEFT does not know make it warn; those of the fixture it knows.
      assert.deepEqual(Object.keys(ours).filter((key) => !(key in theirs)), []);
    } finally {
      await Deno.remove(copy, { recursive: true });
    }
  });
}

/** Uses a copy of the LoRA with a change of its configuration. */
async function withChange(
  change: Record<string, unknown>,
  use: (folder: string) => Promise<unknown>,
): Promise<void> {
  const { folder } = loraFixture("qwen2_some");
  const copy = await Deno.makeTempDir();
  try {
    const config = { ...JSON.parse(await Deno.readTextFile(join(folder, CONFIG))), ...change };
    await Deno.writeTextFile(join(copy, CONFIG), JSON.stringify(config));
    await Deno.copyFile(join(folder, TENSORS), join(copy, TENSORS));
    await use(copy);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

/** What loading the LoRA says after a change of its configuration. */
async function refusal(change: Record<string, unknown>): Promise<string> {
  using model = openCheckpoint(loraFixture("qwen2_some").base.dir, referenceKernels());
  let message = "";
  await withChange(change, async (copy) => {
    const error = await loadAdapter(model, copy).then(() => null, (e: unknown) => e);
    assert.ok(error instanceof UserError, `a UserError, not ${error}`);
    message = error.message;
  });
  return message;
}

Deno.test("loadAdapter() refuses by name, all at once, every option of PEFT that changes the result", async () => {
  const change = {
    use_dora: true,
    lora_bias: true,
    layer_replication: [[0, 1]],
    init_lora_weights: "pissa",
    target_parameters: ["mlp.experts"],
    alora_invocation_tokens: [1],
    arrow_config: { top_k: 1 },
    kasa_config: {},
    use_bdlora: { nblocks: 2 },
    megatron_config: { a: 1 },
    monteclora_config: { num_samples: 1 },
    some_later_option: 3,
  };
  const text = await refusal(change);
  for (const name of Object.keys(change)) assert.ok(text.includes(`"${name}"`), `${name} in ${text}`);
  assert.match(text, /has 12 problems/);
});

Deno.test("loadAdapter() takes every option of PEFT that says nothing of the result", async () => {
  const { folder, base } = loraFixture("qwen2_some");
  using model = openCheckpoint(base.dir, referenceKernels());
  const expected = parameterBytes((await loadAdapter(model, folder)).parameters);
  const change = {
    auto_mapping: { base_model_class: "Qwen2ForCausalLM" },
    corda_config: { corda_method: "ipm" },
    ensure_weight_tying: true,
    eva_config: { rho: 2 },
    exclude_modules: ["lm_head", "k_proj"],
    fan_in_fan_out: true,
    init_lora_weights: "eva",
    layers_to_transform: [],
    loftq_config: { loftq_bits: 4 },
    lora_ga_config: { direction: "ArB2r" },
    megatron_core: "megatron.core",
    modules_to_save: [],
    peft_version: "99.0.0",
    qalora_group_size: 32,
    rank_pattern: { c_attn: 4 },
    revision: "main",
    runtime_config: { ephemeral_gpu_offload: false },
    target_modules: ["q_proj", "v_proj", "down_proj", "c_attn", "w1", "q"],
    task_type: null,
    use_qalora: true,
    velora_config: { num_groups: 64 },
    some_later_option: null,
    some_later_switch: false,
    some_later_pattern: {},
  };
  await withChange(change, async (copy) => {
    assertSame(parameterBytes((await loadAdapter(model, copy)).parameters), expected);
  });
  for (const init of [null, false, "gaussian", "Gaussian", "orthogonal", "mica"]) {
    await withChange({ init_lora_weights: init }, (copy) => loadAdapter(model, copy));
  }
});

Deno.test("loadAdapter() refuses by name modules that can have no delta here, in lists and in patterns", async () => {
  for (const target of [["q_proj", "lm_head"], ".*(q_proj|lm_head)", ["embed_tokens"], ["self_attn"]]) {
    const text = await refusal({ target_modules: target });
    const name = Array.isArray(target) ? target.at(-1) as string : "lm_head";
    assert.match(text, new RegExp(`"target_modules" .* takes in .*${name}.*, which can have no delta here`));
  }
  assert.match(
    await refusal({ target_modules: ["c_attn"] }),
    /"target_modules" \["c_attn"\] matches no weight/,
  );
  assert.match(
    await refusal({ target_modules: "(.*" }),
    /"target_modules" has "\(\.\*", which is no regular expression/,
  );
});

Deno.test("loadAdapter() checks the numbers of a LoRA, and its tensors against them", async () => {
  const numbers = await refusal({
    r: 0,
    lora_alpha: "16",
    lora_dropout: 1,
    use_rslora: 1,
    rank_pattern: { a: -1 },
  });
  for (
    const problem of [
      '"r" is 0',
      '"lora_alpha" is "16"',
      '"lora_dropout" is 1',
      '"use_rslora" is 1',
      '"rank_pattern" has -1 for "a"',
    ]
  ) {
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
  // Sizes that no machine has are seen before memory is taken.
  assert.match(await refusal({ r: 1e12 }), /has shape \(4,24\), expected \(1000000000000,24\)/);
});

Deno.test("loadAdapter() of an adapter for a model of another size names tensors and both shapes, not hundreds of them", async () => {
  const { folder } = loraFixture("qwen2_some");
  using model = openCheckpoint(loraFixture("llama_all").base.dir, referenceKernels());
  const error = await loadAdapter(model, folder).then(() => null, (e: unknown) => e);
  assert.ok(error instanceof UserError);
  assert.match(error.message, /tensor ".*q_proj.lora_B.weight" has shape \(\d+,4\), expected \(40,4\)/);
  const copy = await Deno.makeTempDir();
  try {
    const tensors = Array.from({ length: 100 }, (_, i) => ({
      name: `base_model.model.model.layers.${i}.self_attn.q_proj.lora_A.weight`,
      dtype: "f32" as const,
      shape: [1],
      data: new Float32Array(1),
    }));
    await writeSafetensors(join(copy, TENSORS), tensors);
    await Deno.copyFile(join(folder, CONFIG), join(copy, CONFIG));
    const many = await loadAdapter(model, copy).then(() => null, (e: unknown) => e);
    assert.ok(many instanceof UserError);
    // q, v and down of each layer miss a factor or have another shape; the other tensors have no place. 40 are listed.
    const { numHiddenLayers: layers } = model.config;
    const problems =
      JSON.parse(Deno.readTextFileSync(join(folder, CONFIG))).target_modules.length * 2 * layers +
      100 - layers;
    assert.ok(many.message.endsWith(`and ${problems - 40} more of the kind`), many.message);
    assert.ok(many.message.split("\n").length < 50);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
});

Deno.test("loadAdapter() reads tensors by every name and type that PEFT reads", async () => {
  const { folder, base } = loraFixture("qwen2_some");
  using model = openCheckpoint(base.dir, referenceKernels());
  const expected = await loadAdapter(model, folder);
  const { tensors } = readSafetensorsHeader(join(folder, TENSORS));
  const renamed = async (rename: (name: string) => string, dtype: "f32" | "f64" = "f32") => {
    const copy = await Deno.makeTempDir();
    try {
      await Deno.copyFile(join(folder, CONFIG), join(copy, CONFIG));
      const sources = [...tensors.values()].map((entry) => {
        const data = readTensor(entry, "f32");
        return {
          name: rename(entry.name),
          dtype,
          shape: entry.shape,
          data: dtype === "f64" ? Float64Array.from(data) : data,
        };
      });
      await writeSafetensors(join(copy, TENSORS), sources);
      return await loadAdapter(model, copy);
    } finally {
      await Deno.remove(copy, { recursive: true });
    }
  };
  const names: readonly ((name: string) => string)[] = [
    (name) => name,
    (name) => name.replace(/\.weight$/, ".default.weight"),
    (name) => name.replace("base_model.model.", ""),
    (name) => name.replace("base_model.model.model.", "base_model.model."),
  ];
  for (const rename of names) {
    const { parameters } = await renamed(rename);
    assertSame(parameterBytes(parameters), parameterBytes(expected.parameters));
    assert.deepEqual(parameters.map(({ name }) => name), expected.parameters.map(({ name }) => name));
  }
  assertSame(
    parameterBytes((await renamed((name) => name, "f64")).parameters),
    parameterBytes(expected.parameters),
  );
  const twice = await Deno.makeTempDir();
  try {
    await Deno.copyFile(join(folder, CONFIG), join(twice, CONFIG));
    const sources = [...tensors.values()].flatMap((entry) => {
      const tensor = { dtype: "f32" as const, shape: entry.shape, data: readTensor(entry, "f32") };
      return [entry.name, entry.name.replace("base_model.model.", "")].map((name) => ({ name, ...tensor }));
    });
    await writeSafetensors(join(twice, TENSORS), sources);
    await assert.rejects(loadAdapter(model, twice), /are the same one twice/);
  } finally {
    await Deno.remove(twice, { recursive: true });
  }
});

Deno.test("loadAdapter() never reads a pickle: it says how to convert it; and it finds an adapter one folder down", async () => {
  const { folder, base } = loraFixture("qwen2_some");
  using model = openCheckpoint(base.dir, referenceKernels());
  const copy = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(copy, "adapter"));
    await Deno.copyFile(join(folder, CONFIG), join(copy, "adapter", CONFIG));
    await Deno.writeTextFile(join(copy, "adapter", "adapter_model.bin"), "(lp0\n.");
    const said = await loadAdapter(model, join(copy, "adapter")).then(() => "", (e: Error) => e.message);
    assert.match(said, /has its tensors in adapter_model\.bin, a Python pickle, which is not read here/);
    assert.match(said, /convert it: python -c ".*torch\.load\(.*weights_only=True\).*save_file/);
    const above = await loadAdapter(model, copy).then(() => "", (e: Error) => e.message);
    assert.match(above, /adapter_config\.json does not exist \(there is one in .*adapter\)/);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
});
