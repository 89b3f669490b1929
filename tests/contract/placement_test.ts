// SPDX-License-Identifier: Apache-2.0
/** Both placements of the sparse adapter give the same numbers, on every backend and whatever room there is for rows. */
import { attachAdapter } from "../../lib/adapters/attach.ts";
import assert from "node:assert/strict";
import { sparseAdapter } from "../../lib/adapters/sparse/sparse.ts";
import type { AdapterParams, RowPlacement } from "../../lib/adapters/adapter.ts";
import type { SparseOptions } from "../../lib/adapters/sparse/config.ts";
import { lossAndGradients } from "../../lib/models/engine/pass.ts";
import { interleavedLossAndGradients, splitBatch } from "../../lib/models/engine/interleave.ts";
import { openCheckpoint } from "../../lib/models/load.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { clearGradients } from "../../lib/optim/parameters.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { deviceBackends } from "./backends.ts";
import { assertWithin, largest } from "../compare.ts";
import { modelFixture } from "../fixtures/model_fixture.ts";
import { wholeGradients } from "../unit/train/gradients.ts";

const NEURONS = 24;
const OPTIONS: SparseOptions = { neurons: NEURONS, experts: 6, activeExperts: 2, topK: 3 };
const HOST: RowPlacement = { kind: "host" };

/** Loss and gradients of two micro-batches, the second in halves. */
async function gradients(
  k: Kernels,
  placement: RowPlacement,
  options: SparseOptions = OPTIONS,
  activations: "store" | "recompute" = "store",
) {
  using model = openCheckpoint(modelFixture("qwen3_tied").dir, k);
  const { batch } = modelFixture("qwen3_tied");
  const params: AdapterParams = sparseAdapter(options, model.config).adapter.create(
    k,
    model,
    2 * batch.ids.length,
  );
  params.init(k, 5);
  for (const parameter of params.parameters) {
    if (parameter.kind !== "rows") continue;
    const values = k.floats(parameter.matrix.rows * parameter.matrix.cols);
    k.randomNormal(values, 9, parameter.name.endsWith("keys") ? 1 : 2, 0.5); // values of 0 leave most gradients at 0
    k.rowMatrixWrite(parameter.matrix, values, 0);
  }
  clearGradients(k, params.parameters);
  const attach = (own: Kernels) => attachAdapter(model, params, own, { placement });
  const pass = { activations, lossScale: 1 };
  const whole = await lossAndGradients(model, batch, attach(k).hooks, pass);
  const halves = splitBatch(batch);
  assert.ok(halves);
  const split = options.scope === "union"
    ? whole
    : await interleavedLossAndGradients(model, batch, halves, (own) => attach(own), pass);
  await params.collectGradients?.();
  const result = {
    losses: [whole.lossSum, split.lossSum],
    gradients: wholeGradients(params.parameters),
    traffic: params.rowTraffic?.() ?? null,
    active: params.activeNeurons(),
  };
  params.release();
  return result;
}

type Result = Awaited<ReturnType<typeof gradients>>;

/** @param bound Of each difference, relative to the largest element of the gradient */
function assertClose(actual: Result, expected: Result, bound: number): void {
  assertWithin("losses", actual.losses, expected.losses, bound * Math.max(...expected.losses));
  for (const [name, gradient] of expected.gradients) {
    assertWithin(name, actual.gradients.get(name) ?? [], gradient, bound * Math.max(1e-3, largest(gradient)));
  }
}

for (const capacity of [1, 2, 5, 17, NEURONS]) {
  Deno.test(`placement device with room for ${capacity} of ${NEURONS} rows gives the gradients of placement host`, async () => {
    const host = await gradients(referenceKernels(), HOST);
    const device = await gradients(referenceKernels(), { kind: "device", cachedRows: capacity });
    assertClose(device, host, 1e-11); // f64 sums of the same terms in another order
    assert.equal(device.active, host.active);
    assert.ok(device.traffic && device.traffic.misses > 0);
    assert.equal(device.traffic.evictions > 0, capacity < host.active);
    assert.equal(host.traffic, null);
  });
}

for (const gate of ["raw", "softmax", "sigmoid", "none"] as const) {
  for (const scope of ["token", "union"] as const) {
    Deno.test(`placement device gives the gradients of placement host: ${gate} gate, ${scope} scope`, async () => {
      const options = { ...OPTIONS, gate, scope };
      const host = await gradients(referenceKernels(), HOST, options);
      assertClose(
        await gradients(referenceKernels(), { kind: "device", cachedRows: 7 }, options),
        host,
        1e-11,
      );
    });
  }
}

Deno.test("placement device gives the gradients of placement host with frozen keys, and when activations are recomputed", async () => {
  const device: RowPlacement = { kind: "device", cachedRows: 9 };
  const frozen: SparseOptions = { ...OPTIONS, keys: "frozen" };
  assertClose(
    await gradients(referenceKernels(), device, frozen),
    await gradients(referenceKernels(), HOST, frozen),
    1e-11,
  );
  const stored = await gradients(referenceKernels(), HOST);
  assertClose(await gradients(referenceKernels(), device, OPTIONS, "recompute"), stored, 1e-11);
});

const onCpu = (["f32", "bf16"] as const).map((compute) => ({
  name: `the CPU in ${compute}`,
  compute,
  open: () => nativeKernels({ compute, threads: 2 }),
}));

for (const { name, compute, open } of [...onCpu, ...deviceBackends()]) {
  Deno.test(`placement device gives the gradients of placement host on ${name}`, async () => {
    const exact = await gradients(referenceKernels(), HOST);
    const run = async (placement: RowPlacement) => {
      using k = open(2);
      const result = await gradients(k, placement);
      assert.equal(k.device?.facts().ledger["cache"]?.bytes ?? 0, 0, "slots are given back");
      return result;
    };
    const [host, device] = [await run(HOST), await run({ kind: "device", cachedRows: 8 })];
    if (compute === "f32") {
      assertClose(device, exact, 1e-5);
      assertClose(host, exact, 1e-5);
      return;
    }
    // In bf16 a rounded score may choose another neuron, so sums are compared as a whole, with the error that host has.
    const error = (one: Result): number =>
      Math.hypot(
        ...[...exact.gradients].flatMap(([name, gradient]) =>
          Array.from(gradient, (x, i) => x - (one.gradients.get(name)?.[i] ?? NaN))
        ),
      );
    assert.ok(error(device) <= 2 * error(host), `${error(device)} against ${error(host)}`);
  });
}

Deno.test("a cache of all rows brings each row once a step, and each touched row's gradients down once", async () => {
  const k = referenceKernels();
  const { traffic, active } = await gradients(k, { kind: "device", cachedRows: NEURONS });
  assert.ok(traffic);
  const hidden = 24;
  const layers = 2;
  assert.equal(traffic.misses, active * layers);
  assert.equal(traffic.evictions, 0);
  assert.equal(traffic.upBytes, traffic.misses * 2 * hidden * 8);
  assert.equal(traffic.downBytes, traffic.misses * 2 * hidden * 8);
  assert.ok(traffic.hits > 4 * traffic.misses, "visits of the backward passes and of the second micro-batch");
});
