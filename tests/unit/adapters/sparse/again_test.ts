// SPDX-License-Identifier: Apache-2.0
/** A layer that is undone sees an h that is off by a rounding: it fires what it fired, where its choice now would be another. */
import assert from "node:assert/strict";
import type { AdapterParams } from "../../../../lib/adapters/adapter.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import type { HostResiduals } from "../../../../lib/adapters/sparse/host.ts";
import { clearGradients } from "../../../../lib/optim/parameters.ts";
import type { Tensor } from "../../../../lib/tensor/tensor.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { hookBeside } from "../../../fixtures/hooks.ts";
import { wholeGradients } from "../../train/gradients.ts";
import { smallModel } from "../../train/small_run.ts";

/** So much is an h off by: what two sums of one are that differ in a rounding of f32. */
const OFF = 2 ** -24;

/**
 * Two neurons whose keys (1, 0, ...) and (1, 1, 0, ...) differ in what h has hardly any of. `byRouter`: each is the only one of an
 * expert, and it is the routers' rows that differ so.
 */
const CASES = [false, true].flatMap((byRouter) =>
  ["token", "union"].map((scope) => ({
    name: `${byRouter ? "experts" : "neurons"} of equal scores, scope ${scope}`,
    byRouter,
    options: { neurons: 2, experts: byRouter ? 2 : 1, activeExperts: 1, topK: 1, gate: "none", scope },
  }))
);

function part(params: AdapterParams, name: string): Float64Array {
  const parameter = params.parameters.find((one) => one.name.endsWith(`0.mlp.meft.${name}`))!;
  return (parameter.kind === "dense" ? parameter.data : parameter.matrix.full) as Float64Array;
}

for (const { name, byRouter, options } of CASES) {
  Deno.test(`a branch that is run again and goes back fires what it fired: ${name}`, async () => {
    using model = smallModel();
    const { kernels: k, config: { hiddenSize: D } } = model;
    const { adapter, problems } = resolveAdapter({ kind: "sparse", options }, model.config);
    assert.deepEqual(problems, []);
    const params = adapter.create(k, model, 1);
    params.init(k, 1);
    const row = (...first: number[]) => Float64Array.from({ length: D }, (_, i) => first[i] ?? 0);
    const write = (name: string, ...rows: Float64Array[]): void =>
      rows.forEach((one, i) => part(params, name).set(one, i * D));
    write("keys", row(1), byRouter ? row(1) : row(1, 1));
    if (byRouter) write("router", row(1), row(1, 1));
    write("values", row(0, 0, 5), row(0, 0, -7));

    const tensor = (data: Float64Array): Tensor => ({ shape: [1, D], data });
    const hook = hookBeside<HostResiduals>(params.attach(k).hooks);
    const answer = async (h: Tensor, first?: HostResiduals) => {
      const y = tensor(new Float64Array(D).fill(NaN));
      return { y: y.data, residuals: await hook.forward(0, h, y, first) };
    };
    const [h, rebuilt] = [tensor(row(1, OFF)), tensor(row(1, -OFF))];
    const { y: other } = await answer(rebuilt);
    assertSame(other, row(0, 0, 5)); // what the rebuilt h would choose
    const { y, residuals } = await answer(h);
    const factor = byRouter ? 1 : 1 + OFF;
    assertSame(y, row(0, 0, -7 * factor));

    const { y: again, residuals: own } = await answer(rebuilt, residuals);
    assert.equal(own, residuals);
    assertWithin("y again", again, row(0, 0, -7), 7 * 2 * OFF);

    clearGradients(k, params.parameters);
    const dh = tensor(new Float64Array(D).fill(NaN));
    await hook.backward(0, residuals, rebuilt, tensor(row(0, 0, 1)), dh);
    const gradients = wholeGradients(params.parameters);
    const dvalues = gradients.get("base_model.model.model.layers.0.mlp.meft.values")!;
    const dkeys = gradients.get("base_model.model.model.layers.0.mlp.meft.keys")!;
    assertSame(dvalues.subarray(0, D), row());
    assertWithin("dvalue of what fired", dvalues.subarray(D), row(0, 0, 1), 2 * OFF);
    assertSame(dkeys.subarray(0, D), row());
    assertWithin("dkey of what fired", dkeys.subarray(D), row(-7), 7 * 2 * OFF);
    assertWithin("dh", dh.data, byRouter ? row(-7) : row(-7, -7), 7 * 2 * OFF);
  });
}
