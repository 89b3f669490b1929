// SPDX-License-Identifier: Apache-2.0
/** The router of a layer where the model is, on a device that is played by host memory. */
import assert from "node:assert/strict";
import { createRouterCopy } from "../../../../lib/adapters/sparse/router_copy.ts";
import { directLink, type LinkArray } from "../../../../lib/ops/host_link.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { createRowGradients } from "../../../../lib/ops/row_gradients.ts";
import type { SparseParams } from "../../../../lib/ops/sparse.ts";
import type { Floats } from "../../../../lib/tensor/tensor.ts";

const [EXPERTS, HIDDEN] = [3, 2];

/** Kernels with a device, whose memory is given out, and a link that copies; `up` lists the bytes of each copy. */
function playedDevice() {
  const own = new Set<ArrayBufferLike>();
  const up: number[] = [];
  const places = new Map<LinkArray, LinkArray>();
  const k = referenceKernels();
  const modelFloats = (count: number) => {
    const floats = new Float64Array(count).fill(NaN); // uninitialised
    own.add(floats.buffer);
    return floats;
  };
  const device = {
    holds: (array: ArrayBufferView) => own.has(array.buffer),
    release: (buffer: ArrayBufferLike) => void own.delete(buffer),
  } as unknown as NonNullable<Kernels["device"]>;
  const link: Kernels["link"] = {
    ...directLink(),
    down: (from) => ({ data: from.slice() as typeof from, kept: false, ready: () => {}, release: () => {} }),
    landing: (to) => {
      const data = new Float64Array(to.length);
      places.set(to, data);
      return { data: data as unknown as typeof to, ready: () => {} };
    },
    arrive: (to) => {
      const from = places.get(to);
      assert.ok(from);
      up.push(from.byteLength);
      to.set(from);
    },
  };
  return { k: { ...k, device, modelFloats, link } satisfies Kernels, own, up };
}

function router(k: Kernels, trained: boolean): SparseParams & { gateWeight: Floats } {
  return {
    gateWeight: Float64Array.of(1, 2, 3, 4, 5, 6),
    gateGrad: trained ? new Float64Array(EXPERTS * HIDDEN).fill(10) : null,
    keys: k.rowMatrix(EXPERTS, HIDDEN),
    values: k.rowMatrix(EXPERTS, HIDDEN),
    gradients: createRowGradients(k, EXPERTS, HIDDEN, { keys: true }),
  };
}

Deno.test("a router's copy is brought once a step, and its gradient begins at 0 and is added to the layer's own", async () => {
  const { k, own, up } = playedDevice();
  const params = router(k, true);
  const copy = createRouterCopy(k, params);
  const bytes = EXPERTS * HIDDEN * 8;
  for (let step = 1; step <= 2; step++) {
    params.gateWeight.fill(step);
    params.gateGrad!.fill(10);
    const weight = await copy.weight();
    assert.deepEqual([weight.rows, weight.cols], [EXPERTS, HIDDEN]);
    assert.ok(weight.data!.every((x) => x === step));
    assert.ok(weight.grad!.every((x) => x === 0));
    weight.grad!.fill(0.5);
    params.gateWeight.fill(99); // not brought again within the step
    assert.equal(await copy.weight(), weight);
    assert.ok(weight.data!.every((x) => x === step) && weight.grad!.every((x) => x === 0.5));
    assert.equal(up.length, step);
    await copy.collect();
    assert.ok(params.gateGrad!.every((x) => x === 10.5));
    copy.forget();
    await copy.collect(); // nothing was brought since
    assert.ok(params.gateGrad!.every((x) => x === 10.5));
  }
  assert.deepEqual(up, [bytes, bytes]);
  assert.equal(own.size, 2);
  copy.release();
  assert.equal(own.size, 0);
});

Deno.test("a frozen router has no gradient to travel", async () => {
  const { k, own } = playedDevice();
  const params = router(k, false);
  const copy = createRouterCopy(k, params);
  const { data, grad } = await copy.weight();
  assert.deepEqual([...data!], [1, 2, 3, 4, 5, 6]);
  assert.equal(grad, null);
  await copy.collect();
  assert.equal(own.size, 1);
});

Deno.test("where model and host share their memory, the router is the layer's own", async () => {
  const k = referenceKernels();
  const params = router(k, true);
  const copy = createRouterCopy(k, params);
  const { data, grad, rows, cols } = await copy.weight();
  assert.equal(data, params.gateWeight);
  assert.equal(grad, params.gateGrad);
  assert.deepEqual([rows, cols], [EXPERTS, HIDDEN]);
  await copy.collect();
  assert.ok(params.gateGrad!.every((x) => x === 10));
  copy.release();
  assert.equal(k.ledger.held.get("cache") ?? 0, 0);
});
