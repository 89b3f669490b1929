// SPDX-License-Identifier: Apache-2.0
/** How adapters start: which random numbers go where. A run that is begun again has the same start, whatever the version. */
import assert from "node:assert/strict";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import type { JsonObject } from "../../../lib/core/json.ts";
import { randomNormal, randomUniform } from "../../../lib/core/rng.ts";
import type { Model } from "../../../lib/models/model.ts";
import { assertSameBits } from "../../compare.ts";
import { smallModel } from "../train/small_run.ts";

const SEED = 6;
const D = 24;

/** Start values by the end of the parameter's name. */
function start(model: Model, kind: string, options: JsonObject): (name: string) => Float64Array {
  const { adapter, problems } = resolveAdapter({ kind, options }, model.config);
  assert.deepEqual(problems, []);
  const params = adapter.create(model.kernels, model, 0);
  params.init(model.kernels, SEED);
  return (name) => {
    const found = params.parameters.filter((parameter) => parameter.name.includes(name));
    assert.equal(found.length, 1, name);
    const [parameter] = found;
    return (parameter?.kind === "rows" ? parameter.matrix.full : parameter?.data) as Float64Array;
  };
}

function normal(count: number, stream: number, std: number): Float64Array {
  const out = new Float64Array(count);
  randomNormal(out, SEED, stream, std);
  return out;
}

function uniform(count: number, stream: number, bound: number): Float64Array {
  const out = new Float64Array(count);
  randomUniform(out, SEED, stream, bound);
  return out;
}

Deno.test("the sparse adapter draws 1,024 rows of keys from each stream, 65,536 streams a layer, a random router from the last", () => {
  using model = smallModel();
  const options = {
    neurons: 2100,
    experts: 100,
    activeExperts: 8,
    topK: 64,
    routerInit: "random",
    initStd: 0.3,
  };
  const values = start(model, "sparse", options);
  for (const layer of [0, 1]) {
    const keys = values(`layers.${layer}.mlp.meft.keys`);
    for (const [piece, begin] of [0, 1024, 2048].entries()) {
      const rows = Math.min(1024, 2100 - begin);
      assertSameBits(
        `keys of layer ${layer} from ${begin}`,
        keys.subarray(begin * D, (begin + rows) * D),
        normal(rows * D, layer * 65536 + piece, 0.3),
      );
    }
    const router = values(`layers.${layer}.mlp.meft.router`);
    assertSameBits(`router of layer ${layer}`, router, normal(100 * D, layer * 65536 + 65535, 0.3));
    assert.ok(values(`layers.${layer}.mlp.meft.values`).every((x) => x === 0));
  }
});

Deno.test("the router starts as routerScale times the mean key of each expert", () => {
  using model = smallModel();
  const values = start(model, "sparse", {
    neurons: 6,
    experts: 3,
    activeExperts: 1,
    topK: 1,
    routerScale: 7,
  });
  const [keys, router] = [values("1.mlp.meft.keys"), values("1.mlp.meft.router")];
  const expected = router.map((_, i) => {
    const [expert, column] = [Math.floor(i / D), i % D];
    return 7 * (keys[2 * expert * D + column]! + keys[(2 * expert + 1) * D + column]!) / 2;
  });
  assertSameBits("router", router, expected);
});

Deno.test("the parallel adapter draws the keys of a layer from the layer's stream, with the model's deviation unless told", () => {
  using model = smallModel();
  for (
    const [options, std] of [[{ neurons: 5 }, model.config.initializerRange], [
      { neurons: 5, initStd: 2 },
      2,
    ]] as const
  ) {
    const values = start(model, "parallel", options);
    for (const layer of [0, 1]) {
      assertSameBits("keys", values(`${layer}.mlp.meft.keys`), normal(5 * D, layer, std));
      assert.ok(values(`${layer}.mlp.meft.values`).every((x) => x === 0));
    }
  }
});

Deno.test("LoRA draws A of each weight from a stream of its own, eight a layer, whatever else is a target", () => {
  using model = smallModel();
  const sites = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
  const all = start(model, "lora", { rank: 2 });
  const some = start(model, "lora", { rank: 2, targets: ["down", "k"] });
  for (const layer of [0, 1]) {
    for (const [i, site] of sites.entries()) {
      const inputs = site === "down_proj"
        ? 37
        : site === "o_proj"
        ? all(`layers.0.self_attn.o_proj.lora_A`).length / 2
        : D;
      const half = site.length < 7 ? "self_attn" : "mlp";
      const name = `layers.${layer}.${half}.${site}.lora_A`;
      const expected = uniform(2 * inputs, layer * 8 + i, 1 / Math.sqrt(inputs));
      assertSameBits(name, all(name), expected);
      if (site === "down_proj" || site === "k_proj") assertSameBits(name, some(name), expected);
      assert.ok(all(name.replace("_A", "_B")).every((x) => x === 0));
    }
  }
});

Deno.test("init() forgets what was there before", () => {
  using model = smallModel();
  for (const [kind, options] of [["parallel", { neurons: 3 }], ["lora", { rank: 2 }]] as const) {
    const { adapter } = resolveAdapter({ kind, options }, model.config);
    const params = adapter.create(model.kernels, model, 0);
    for (const parameter of params.parameters) if (parameter.kind === "dense") parameter.data.fill(9);
    params.init(model.kernels, SEED);
    const fresh = start(model, kind, options);
    for (const parameter of params.parameters) {
      if (parameter.kind === "dense") assertSameBits(parameter.name, parameter.data, fresh(parameter.name));
    }
  }
});
