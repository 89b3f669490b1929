// SPDX-License-Identifier: Apache-2.0
/** Couplings as the paper has them, against what torch computes of its equations: outputs, loss and gradients of all adapters. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import { COUPLING_NAMES } from "../../../../lib/adapters/wiring/options.ts";
import { forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../../lib/tensor/safetensors.ts";
import { assertWithin } from "../../../compare.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { wholeGradients } from "../../train/gradients.ts";

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "../../../fixtures/couplings");
const COEFFICIENTS = {
  meft1: { lambda: 0.25, beta: 1 },
  meft2: { lambda: 1, beta: 0.5 },
  meft3: { lambda: 0.25, beta: 0.5 },
} as const;
const CASES = [
  { name: "llama3_tied", ...modelFixture("llama3_tied") },
  { name: "bert_labels", ...checkpointFixture("encoders/bert_labels") },
];

for (const { name, dir, batch } of CASES) {
  for (const wiring of COUPLING_NAMES) {
    Deno.test(`${wiring} of ${name} has the outputs and gradients that torch computes of the paper's equations`, async () => {
      const { tensors } = readSafetensorsHeader(join(FOLDER, `${name}.safetensors`));
      const expected = (tensor: string): Float64Array | null => {
        const entry = tensors.get(`${wiring}.${tensor}`);
        return entry ? readTensor(entry, "f64") as Float64Array : null;
      };
      using model = openCheckpoint(dir, referenceKernels());
      const options = { neurons: 3, bottleneck: 3, wiring, streams: "f32", ...COEFFICIENTS[wiring] };
      const { adapter, problems } = resolveAdapter({ kind: "bottleneck", options }, model.config);
      assert.deepEqual(problems, []);
      const params = adapter.create(model.kernels, model, batch.ids.length);
      for (const parameter of params.parameters) {
        assert.ok(parameter.kind === "dense");
        const values = expected(`value.${parameter.name}`);
        assert.ok(values, parameter.name);
        parameter.data.set(values);
      }
      const { hooks } = attachAdapter(model, params);
      const logits = await forwardLogits(model, batch, hooks);
      const last = expected("outputs")!;
      assertWithin("outputs", [...logits.data.slice(-last.length)], last, 1e-10);
      for (const activations of ["store", "reversible"] as const) {
        params.parameters.forEach((parameter) => parameter.kind === "dense" && parameter.grad?.fill(0));
        const { lossSum } = await lossAndGradients(model, batch, hooks, { activations, lossScale: 1 });
        assertWithin("loss", [lossSum], expected("loss")!, 1e-10);
        for (const [parameter, gradient] of wholeGradients(params.parameters)) {
          const wanted = expected(`grad.${parameter}`);
          assert.ok(wanted, `torch has no gradient of ${parameter}`);
          assertWithin(parameter, [...gradient], wanted, activations === "store" ? 1e-9 : 1e-7);
        }
      }
    });
  }
}
