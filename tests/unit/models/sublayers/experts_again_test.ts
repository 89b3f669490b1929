// SPDX-License-Identifier: Apache-2.0
/** Tokens of a mixture of experts keep the experts that they chose when their layer is run again. */
import assert from "node:assert/strict";
import { lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { chooseExperts } from "../../../../lib/ops/experts.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { hooksOf } from "../../../fixtures/hooks.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { probeHook } from "../../../fixtures/probe_hook.ts";

Deno.test("chooseExperts() of logits that hardly differ keeps a choice that was made, with weights of its own", () => {
  const k = referenceKernels();
  const logits = (...data: number[]) => ({ shape: [1, 3], data: Float64Array.from(data) });
  for (const normalised of [false, true]) {
    const choice = { experts: 3, active: 1, normalised };
    const first = chooseExperts(k, logits(1, 1 + 2 ** -24, 0), choice);
    assertSame(first.residuals.chosen, Int32Array.of(1));
    const rebuilt = logits(1, 1 - 2 ** -24, 0);
    assertSame(chooseExperts(k, rebuilt, choice).residuals.chosen, Int32Array.of(0));
    const again = chooseExperts(k, rebuilt, choice, first.residuals.chosen);
    assert.equal(again.residuals.chosen, first.residuals.chosen);
    assertSame(again.residuals.logits, rebuilt);
    assertWithin("weights", again.weights.data, first.weights.data, 2 ** -23);
    assert.throws(() => chooseExperts(k, rebuilt, choice, Int32Array.of(0, 1)), RangeError);
  }
});

Deno.test("layers of experts choose once a pass, whatever backward remembers", async () => {
  const { dir, batch } = modelFixture("qwen3_moe");
  for (const [activations, runs] of [["store", 1], ["recompute", 2]] as const) {
    const calls = { chosen: 0, weighed: 0 };
    const plain = referenceKernels();
    const k: Kernels = {
      ...plain,
      expertsChoose: (...args) => (calls.chosen++, plain.expertsChoose(...args)),
      expertsWeights: (...args) => (calls.weighed++, plain.expertsWeights(...args)),
    };
    using model = openCheckpoint(dir, k);
    const mixtures = model.parts.stacks[0].layers.flat().filter(({ kind }) => kind === "experts").length;
    await lossAndGradients(model, batch, hooksOf({ attention: probeHook(0.3, true) }), {
      activations,
      lossScale: 1,
    });
    assert.ok(mixtures > 0);
    assert.deepEqual(calls, { chosen: mixtures, weighed: (runs - 1) * mixtures }, activations);
  }
});
