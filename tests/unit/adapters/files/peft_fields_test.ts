// SPDX-License-Identifier: Apache-2.0
/** What single fields and names in a folder of PEFT's mean. */
import assert from "node:assert/strict";
import type { AdapterParams } from "../../../../lib/adapters/adapter.ts";
import { baseRecord } from "../../../../lib/adapters/files/base_model.ts";
import { loraAdapter } from "../../../../lib/adapters/lora/lora.ts";
import { resolveLora } from "../../../../lib/adapters/lora/config.ts";
import type { LoraOptions } from "../../../../lib/adapters/lora/options.ts";
import { placeLora } from "../../../../lib/adapters/lora/table.ts";
import { PEFT_LORA_FORMAT } from "../../../../lib/adapters/files/peft_lora_format.ts";
import type { JsonObject } from "../../../../lib/core/json.ts";
import { modelSites } from "../../../../lib/models/modules.ts";
import { readConfig } from "../../../../lib/models/read_config.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";

function read(fields: JsonObject, tensorNames: readonly string[] = []) {
  const problems: string[] = [];
  const description = PEFT_LORA_FORMAT.read(
    { peft_type: "LORA", ...fields },
    { metadata: {}, shapes: new Map(tensorNames.map((name) => [name, []])) },
    problems,
  );
  return { ...description, problems };
}

const CONFIG = readConfig(modelFixture("llama3_tied").dir, [])!;

function written(options: LoraOptions, name = "base"): JsonObject {
  const { adapter, problems } = loraAdapter(options, CONFIG);
  assert.deepEqual(problems, []);
  return PEFT_LORA_FORMAT.config(
    { adapter } as AdapterParams,
    { base: baseRecord({ name, hash: "" }, "."), tensorsHash: "", taskType: "CAUSAL_LM" },
  );
}

Deno.test("tensor names are those of a bare model only when all of the model's are", () => {
  const factor = (root: string, site: string) => `base_model.model.${root}layers.0.${site}.lora_A.weight`;
  const [bare, causal] = [factor("", "self_attn.q_proj"), factor("model.", "mlp.up_proj")];
  assert.deepEqual(read({}, [bare, "stranger"]).source, {
    by: "peft",
    modules: ["layers.0.self_attn.q_proj"],
  });
  // What matches whole names of a bare model matches none of the others'.
  const isBare = (...names: string[]): boolean => {
    const { source } = read({}, names);
    return loraAdapter({ targets: "layers\\.0\\.self_attn\\.q_proj" }, CONFIG, source && { source }).problems
      .length === 0;
  };
  assert.ok(isBare(bare));
  assert.ok(isBare(bare, "stranger"));
  for (const names of [[causal], [bare, causal], [], ["stranger"]]) assert.ok(!isBare(...names), `${names}`);
});

Deno.test("a tensor holds the factor of its name, a stranger itself, and the state of VeLoRA's backward pass nothing", () => {
  const { parameterName } = read({});
  const factor = "layers.10.mlp.down_proj.lora_B";
  for (const root of ["", "model."]) { // a bare model's names are told from a whole one's when the model is known
    const whole = `base_model.model.${root}${factor}.weight`;
    for (const name of [whole, `${root}${factor}.default.weight`, `${root}${factor}.weight`]) {
      assert.equal(parameterName(name), whole, name);
    }
  }
  const other = `base_model.model.${factor}`;
  for (const name of ["lm_head.weight", `${other.replace("lora_B", "lora_C")}.weight`, `${other}.weight.x`]) {
    assert.equal(parameterName(name), name);
  }
  const state = "base_model.model.model.layers.0.self_attn.q_proj.lora_velora_embed";
  assert.deepEqual([state, `${state}.default`].map(parameterName), [null, null]);
  assert.equal(parameterName(`${state}.other`), `${state}.other`);
});

Deno.test('"all-linear" goes with no choice of layers, in any case of letters, as in PEFT; a list does', () => {
  for (const target of ["all-linear", "All-Linear"]) {
    for (const [name, value] of [["layers_to_transform", [0]], ["layers_pattern", "layers"]] as const) {
      assert.deepEqual(read({ target_modules: target, [name]: value }).problems, [
        `"${name}" does not go with "target_modules": "all-linear", in PEFT neither: list the names`,
      ]);
    }
    const off = { target_modules: target, layers_to_transform: null, layers_pattern: [] };
    assert.deepEqual(read(off).problems, []);
  }
  assert.deepEqual(read({ target_modules: ["q_proj"], layers_to_transform: [0] }).problems, []);
});

Deno.test("options that are off change nothing, whether null, false, empty or none", () => {
  for (const value of [null, false, "", [], {}]) {
    assert.deepEqual(read({ some_later_option: value, modules_to_save: value }).problems, []);
  }
  assert.deepEqual(read({ bias: "none" }).problems, []);
  for (const value of [0, true, "x", [0], { a: null }]) {
    const { problems } = read({ some_later_option: value });
    assert.equal(problems.length, 1, JSON.stringify(value));
    assert.match(problems[0]!, /^"some_later_option" is .*what it does to the result is not known/);
  }
  for (const bias of ["all", "lora_only"]) {
    const { problems, options } = read({ bias });
    assert.deepEqual([problems, options["bias"]], [[], bias]);
  }
});

Deno.test("a refusal says to merge with PEFT what PEFT can merge, and nothing of it for the rest", () => {
  const said = (name: string) => read({ [name]: { a: 1 } }).problems.join();
  for (
    const [name, reason] of [
      ["use_dora", "DoRA scales the merged weights"],
      ["lora_bias", "the deltas would have biases"],
      ["some_later_option", "what it does to the result is not known"],
    ] as const
  ) {
    assert.ok(
      said(name).endsWith(
        `(${reason}): merge the adapter with PEFT (merge_and_unload) and load the merged model`,
      ),
      said(name),
    );
  }
  for (const name of ["alora_invocation_tokens", "arrow_config", "megatron_config"]) {
    assert.match(said(name), /not supported here \([^:]*\)$/);
  }
  // These turn a variant on with all its defaults; of others an empty object is nothing.
  assert.match(
    read({ arrow_config: {}, use_bdlora: {} }).problems.join("\n"),
    /^"arrow_config".*\n"use_bdlora"/,
  );
});

Deno.test("starts that changed the base model's weights are refused, in any case of letters", () => {
  for (const init of ["pissa", "pissa_niter_16", "olora", "loftq", "corda", "lora_ga", 3]) {
    assert.match(
      read({ init_lora_weights: init }).problems.join(),
      /path_initial_model_for_weight_conversion/,
    );
  }
  for (const init of [true, false, null, "gaussian", "Gaussian", "EVA", "orthogonal", "mica"]) {
    assert.deepEqual(read({ init_lora_weights: init }).problems, []);
  }
});

Deno.test("our words are modules that no model has: a folder that holds them has deltas elsewhere", () => {
  const { options, source } = read({
    target_modules: ["q", "up_proj", "down"],
    exclude_modules: ["k", "v_proj"],
    rank_pattern: { q: 3, up_proj: 2 },
    alpha_pattern: { down: 3, "up.*": 4 },
  });
  const { settings, problems } = resolveLora(options, modelSites(CONFIG), source);
  assert.deepEqual(problems, []);
  const { rank, alpha, targets, excludeTargets, rankPattern, alphaPattern } = settings;
  assert.deepEqual({ rank, alpha, targets, excludeTargets, rankPattern, alphaPattern }, {
    rank: 8,
    alpha: 8,
    targets: ["up"],
    excludeTargets: ["v"],
    rankPattern: { up_proj: 2 },
    alphaPattern: { "up.*": 4 },
  });
});

Deno.test("words are written as the names that PEFT knows, options by PEFT's names, and what chooses nothing not at all", () => {
  const options: LoraOptions = {
    rank: 3,
    alpha: 5,
    dropout: 0.25,
    useRslora: true,
    targets: ["down", "q", "layers.1.mlp.up_proj"],
    excludeTargets: ["0.self_attn.q_proj"],
    layersToTransform: [1, 0],
    layersPattern: "layers",
    rankPattern: { q: 2 },
    alphaPattern: { down: 7 },
  };
  const { base_model_name_or_path: _, ...fields } = written(options);
  assert.deepEqual(fields, {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    inference_mode: true,
    r: 3,
    lora_alpha: 5,
    lora_dropout: 0.25,
    use_rslora: true,
    target_modules: ["q_proj", "down_proj", "layers.1.mlp.up_proj"],
    exclude_modules: ["0.self_attn.q_proj"],
    layers_to_transform: [0, 1],
    layers_pattern: ["layers"],
    rank_pattern: { q_proj: 2 },
    alpha_pattern: { down_proj: 7 },
    bias: "none",
    fan_in_fan_out: false,
    init_lora_weights: true,
  });
  assert.deepEqual(written({ excludeTargets: ["v"] })["exclude_modules"], ["v_proj"]);
});

Deno.test("a base of the hub's cache is written by its name and revision, as PEFT loads it", () => {
  const revision = "0123456789abcdef0123456789abcdef01234567";
  const fields = written({}, `/nowhere/models--some--model/snapshots/${revision}`);
  assert.equal(fields["base_model_name_or_path"], "some/model");
  assert.equal(fields["revision"], revision);
  assert.equal("revision" in written({}, "/nowhere/model"), false);
});

Deno.test("a target that can have no delta is named, two are, and more are counted", () => {
  const said = (targets: readonly string[]) => loraAdapter({ targets }, CONFIG).problems.join("\n");
  assert.match(said(["q", "lm_head"]), / takes in lm_head, which can have no delta here/);
  assert.match(said(["lm_head", "embed_tokens"]), / takes in model\.embed_tokens and lm_head, which can/);
  assert.match(
    said(["lm_head", "embed_tokens", "rotary_emb"]),
    / takes in model\.embed_tokens and 2 more, which can/,
  );
});

Deno.test("a name that tells no layer's number is in no layer, not in the first", () => {
  const said = (layersPattern: string) =>
    loraAdapter({ targets: ["q"], layersToTransform: [0], layersPattern }, CONFIG).problems.join("\n");
  for (const pattern of ["h", "layers|h"]) {
    assert.match(said(pattern), /^targets .* matches no weight of the model's layers/, pattern);
  }
  assert.equal(said("(?:layers|h)"), "");
});

Deno.test("what was told of a bare model's names keeps its ranks and alphas under the whole model's names", () => {
  const options: LoraOptions = {
    targets: ["q_proj"],
    rankPattern: { "^layers\\.0\\..*": 2 },
    alphaPattern: { "^layers\\.1\\..*": 4 },
  };
  const bare = loraAdapter(options, CONFIG, {
    source: { by: "peft", modules: ["layers.0.self_attn.q_proj"] },
  });
  assert.deepEqual(bare.problems, []);
  const fields = PEFT_LORA_FORMAT.config(
    { adapter: bare.adapter } as AdapterParams,
    { base: baseRecord({ name: "base", hash: "" }, "."), tensorsHash: "", taskType: "CAUSAL_LM" },
  );
  const { options: again, source } = read(fields);
  const { settings, problems } = resolveLora(again, modelSites(CONFIG), source);
  assert.deepEqual(problems, []);
  const { table } = placeLora(settings, CONFIG, { source: source! });
  assert.deepEqual(table.map((sites) => [...sites]), [
    [["q", { rank: 2, alpha: 16, scale: 8 }]],
    [["q", { rank: 8, alpha: 4, scale: 0.5 }]],
    [],
  ]);
});
