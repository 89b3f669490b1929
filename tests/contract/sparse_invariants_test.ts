// SPDX-License-Identifier: Apache-2.0
/** What must hold of the sparse adapter on every backend, whatever its numbers: no oracle needed. */
import { randomNormal } from "../../lib/core/rng.ts";
import type { Gate } from "../../lib/ops/kernels/rows.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../lib/ops/linear.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { activationBackward, activationForward } from "../../lib/ops/activation.ts";
import { createRowGradients } from "../../lib/ops/row_gradients.ts";
import { sparseBackward, type SparseConfig, sparseForward, type SparseParams } from "../../lib/ops/sparse.ts";
import type { Floats, Tensor, Weight } from "../../lib/tensor/tensor.ts";
import { assertSameBits, assertWithin, EPS_F32 } from "../compare.ts";
import { backends } from "./backends.ts";

const GATES: readonly Gate[] = ["raw", "softmax", "sigmoid", "none"];
const [TOKENS, HIDDEN, NEURONS] = [23, 21, 60];

function normal(k: Kernels, stream: number, ...shape: number[]): Tensor {
  const data = k.floats(shape.reduce((a, b) => a * b, 1));
  randomNormal(data, 99, stream, 1);
  return { shape, data };
}

function adapter(k: Kernels, config: SparseConfig, values: Floats): SparseParams {
  const matrix = (data: Floats) => {
    const rows = k.rowMatrix(NEURONS, HIDDEN);
    k.rowMatrixWrite(rows, data, 0);
    return rows;
  };
  return {
    gateWeight: normal(k, 0, config.experts, HIDDEN).data,
    gateGrad: k.floats(config.experts * HIDDEN),
    keys: matrix(normal(k, 1, NEURONS, HIDDEN).data),
    values: matrix(values),
    gradients: createRowGradients(k, NEURONS, HIDDEN, { keys: true }),
  };
}

/** Runs `check` on the reference and on every backend, with its name. */
async function everywhere(check: (k: Kernels, name: string) => Promise<void>): Promise<void> {
  await check(referenceKernels(), "reference");
  for (const backend of backends()) {
    using k = backend.open(2);
    await check(k, backend.name);
  }
}

for (const gate of GATES) {
  const config: SparseConfig = { gate, scope: "token", experts: 6, activeExperts: 2, topK: 5 };

  Deno.test(`sparseForward() with values of zero is exactly zero: ${gate} gate`, async () => {
    for (const scope of ["token", "union"] as const) {
      await everywhere(async (k, name) => {
        const params = adapter(k, config, k.floats(NEURONS * HIDDEN));
        const { y } = await sparseForward(k, params, normal(k, 3, TOKENS, HIDDEN), { ...config, scope });
        assertWithin(name, y.data, new Float64Array(y.data.length), 0);
      });
    }
  });

  Deno.test(`sparseForward() of a token does not depend on the others in the call: ${gate} gate`, async () => {
    await everywhere(async (k, name) => {
      const params = adapter(k, config, normal(k, 2, NEURONS, HIDDEN).data);
      const h = normal(k, 3, TOKENS, HIDDEN);
      const whole = await sparseForward(k, params, h, config);
      for (const [begin, end] of [[0, 9], [9, 10], [10, TOKENS]] as const) {
        const part: Tensor = {
          shape: [end - begin, HIDDEN],
          data: h.data.subarray(begin * HIDDEN, end * HIDDEN),
        };
        const { y } = await sparseForward(k, params, part, config);
        assertSameBits(`${name}: y`, y.data, whole.y.data.subarray(begin * HIDDEN, end * HIDDEN));
      }
    });
  });

  Deno.test(`sparseBackward() gives the same bits whatever the threads: ${gate} gate`, async () => {
    for (const backend of backends()) {
      const results = await Promise.all([1, 2, 3].map(async (threads) => {
        using k = backend.open(threads);
        const params = adapter(k, config, normal(k, 2, NEURONS, HIDDEN).data);
        const [h, dy, dh] = [3, 4, 5].map((stream) => normal(k, stream, TOKENS, HIDDEN)) as [
          Tensor,
          Tensor,
          Tensor,
        ];
        const { y, residuals } = await sparseForward(k, params, h, config);
        await sparseBackward(k, params, residuals, h, dy, dh);
        const { keys, values } = params.gradients;
        return { y: y.data, dh: dh.data, gate: params.gateGrad, keys, values } as Record<string, Floats>;
      }));
      for (const name of Object.keys(results[0] ?? {})) {
        for (const other of results.slice(1)) {
          assertSameBits(`${backend.name}: ${name}`, other[name] as Floats, results[0]?.[name] as Floats);
        }
      }
    }
  });
}

Deno.test("the dense limit (K = R, N = 1, no gate) equals a ReLU parallel adapter of linear layers", async () => {
  const config: SparseConfig = { gate: "none", scope: "token", experts: 1, activeExperts: 1, topK: NEURONS };
  await everywhere(async (k, name) => {
    // Rounded to bf16 as the sparse kernels do where products are bf16; to whole numbers and a few bits more everywhere.
    const coarse = (stream: number, ...shape: number[]) => {
      const tensor = normal(k, stream, ...shape);
      tensor.data.forEach((x, i) => tensor.data[i] = Math.round(8 * x) / 8);
      return tensor;
    };
    const params = adapter(k, config, coarse(2, NEURONS, HIDDEN).data);
    const keyData = coarse(1, NEURONS, HIDDEN).data;
    k.rowMatrixWrite(params.keys, keyData, 0);
    const h = coarse(3, TOKENS, HIDDEN);
    const dy = coarse(4, TOKENS, HIDDEN);
    const dh: Tensor = { shape: [TOKENS, HIDDEN], data: k.floats(TOKENS * HIDDEN) };
    const sparse = await sparseForward(k, params, h, config);
    await sparseBackward(k, params, sparse.residuals, h, dy, dh);

    // The same adapter as dense layers, in f64: keys (R,D), and values transposed to (D,R).
    const oracle = referenceKernels();
    const wide = (tensor: Tensor): Tensor => ({ shape: tensor.shape, data: Float64Array.from(tensor.data) });
    const down: Weight = weight("keys", Float64Array.from(keyData), NEURONS, HIDDEN);
    const valueData = coarse(2, NEURONS, HIDDEN).data;
    const transposed = Float64Array.from(
      { length: NEURONS * HIDDEN },
      (_, i) => valueData[(i % NEURONS) * HIDDEN + Math.floor(i / NEURONS)] as number,
    );
    const up: Weight = weight("values", transposed, HIDDEN, NEURONS);
    const fired = activationForward(oracle, { x: linearForward(oracle, wide(h), down), up: null }, "relu");
    const y = linearForward(oracle, fired, up);
    const dfired = linearBackward(oracle, fired, up, wide(dy));
    const { dx: dsum } = activationBackward(oracle, { x: fired, up: null }, "relu", dfired);
    const dense = linearBackward(oracle, wide(h), down, dsum);

    const bound = (expected: Floats) => 16 * EPS_F32 * Math.max(...Array.from(expected, Math.abs));
    assertWithin(`${name}: y`, sparse.y.data, y.data, bound(y.data));
    assertWithin(`${name}: dh`, dh.data, dense.data, bound(dense.data));
    const { slots, keys, values } = params.gradients;
    const spread = (compact: Floats, at: (neuron: number, d: number) => number) => {
      const whole = new Float64Array(NEURONS * HIDDEN);
      slots.forEach((slot, neuron) => {
        for (let d = 0; slot >= 0 && d < HIDDEN; d++) {
          whole[at(neuron, d)] = compact[slot * HIDDEN + d] as number;
        }
      });
      return whole;
    };
    const dkeys = spread(keys as Floats, (neuron, d) => neuron * HIDDEN + d);
    const dvalues = spread(values, (neuron, d) => d * NEURONS + neuron);
    assertWithin(`${name}: dkeys`, dkeys, down.grad as Floats, bound(down.grad as Floats));
    assertWithin(`${name}: dvalues`, dvalues, up.grad as Floats, bound(up.grad as Floats));
  });
});

function weight(name: string, data: Float64Array, rows: number, cols: number): Weight {
  return { name, dtype: "f64", rows, cols, data, mapped: null, grad: new Float64Array(rows * cols) };
}

Deno.test("a lane of promises gives the same bits as one inside the caller", async () => {
  const config: SparseConfig = { gate: "raw", scope: "token", experts: 6, activeExperts: 2, topK: 5 };
  const run = async (k: Kernels) => {
    const params = adapter(k, config, normal(k, 2, NEURONS, HIDDEN).data);
    const [h, dy, dh] = [3, 4, 5].map((stream) => normal(k, stream, TOKENS, HIDDEN)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const pending = sparseForward(k, params, h, config);
    const { y, residuals } = await pending;
    await sparseBackward(k, params, residuals, h, dy, dh);
    return { promised: pending instanceof Promise, y: y.data, dh: dh.data, values: params.gradients.values };
  };

  using inline = nativeKernels({ compute: "f32" });
  using beside = nativeKernels({ compute: "f32", async: true });
  const [now, later] = [await run(inline), await run(beside)];
  if (now.promised || !later.promised) throw new Error("expected a promise of the asynchronous lane only");
  assertSameBits("y", later.y, now.y);
  assertSameBits("dh", later.dh, now.dh);
  assertSameBits("dvalues", later.values, now.values);
});
