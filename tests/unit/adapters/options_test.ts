// SPDX-License-Identifier: Apache-2.0
/** Options of the adapters that have few, and what every kind is by default. */
import assert from "node:assert/strict";
import { UserError } from "../../../lib/core/errors.ts";
import { quotedValue } from "../../../lib/core/quoted.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../../lib/adapters/registry.ts";
import { smallModel } from "../train/small_run.ts";

Deno.test("every kind of adapter has its published sizes by default, and says where it attaches", () => {
  using model = smallModel();
  const std = model.config.initializerRange;
  assert.notEqual(std, 0.02, "the model's own");
  const of = (kind: string) => {
    const { adapter, problems } = resolveAdapter({ kind, options: {} }, model.config);
    assert.deepEqual(problems, []);
    assert.equal(adapter.kind, kind);
    return [adapter.config, adapter.sites];
  };
  assert.deepEqual(ADAPTER_KINDS, ["sparse", "parallel", "lora", "bottleneck", "tokens", "full"]);
  assert.deepEqual(of("bottleneck"), [{ neurons: 8, initStd: std }, ["ffn"]]);
  assert.deepEqual(of("parallel"), [{ neurons: 1024, initStd: std }, ["ffn"]]);
  assert.deepEqual(of("full"), [{}, ["weights"]]);
  assert.deepEqual(of("lora")[1], ["linear"]);
  const [sparse, sites] = of("sparse") as [Record<string, unknown>, string[]];
  assert.deepEqual([sparse["neurons"], sparse["initStd"], sites], [4096, std, ["ffn"]]);
});

Deno.test("the parallel adapter and full fine-tuning name what is wrong with their options", () => {
  using model = smallModel();
  const problems = (kind: string, options: Record<string, unknown>) =>
    resolveAdapter({ kind, options: options as Record<string, number> }, model.config).problems;
  assert.deepEqual(problems("parallel", { neurons: 1, initStd: 0 }), []);
  for (const neurons of [0, -1, 1.5, NaN, "12"]) {
    assert.deepEqual(problems("parallel", { neurons }), [
      `neurons is ${quotedValue(neurons)}, expected a whole number of at least 1`,
    ]);
  }
  assert.deepEqual(problems("parallel", { neuron: 3, initStd: NaN }), [
    '"neuron" is no option of the parallel adapter; did you mean "neurons"?',
    "initStd is NaN, expected a number",
  ]);
  assert.deepEqual(problems("full", { rank: 3 }), ['"rank" is no option of full fine-tuning: it has none']);
});

Deno.test("resolveAdapter() refuses what is no adapter, also where it is the name of something else", () => {
  using model = smallModel();
  for (const kind of ["constructor", "lorra", ""]) {
    assert.throws(() => resolveAdapter({ kind, options: {} }, model.config), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.match(
        error.message,
        /^There is no adapter ".*" \(there are: sparse, parallel, lora, bottleneck, tokens, full\)$|did you mean "lora"/,
      );
      return true;
    });
  }
});

Deno.test("what fires in adapters that do not choose is all there is", () => {
  using model = smallModel();
  const params = (kind: string, options: Record<string, number>) =>
    resolveAdapter({ kind, options }, model.config).adapter.create(model.kernels, model, 0);
  assert.equal(params("parallel", { neurons: 7 }).activeNeurons(), 7);
  for (const kind of ["lora", "full"]) assert.equal(params(kind, {}).activeNeurons(), 0);
  for (const kind of ["parallel", "lora", "full"]) {
    const { layerActivity, rowTraffic } = params(kind, {});
    assert.deepEqual([layerActivity, rowTraffic], [undefined, undefined]);
  }
});
