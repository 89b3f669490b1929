// SPDX-License-Identifier: Apache-2.0
/** What calls on rows refuse, before anything is written: rows that are not there, steps and sizes that cannot be. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { adamwRows, adamwRowsCatchUp, rowsAdd, rowsGather } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { type AdamwParams, writeAdamwParams } from "../../lib/native/structs.ts";
import { MEFT_ADAM_LAZY_EXACT, MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import type { SparseShape } from "../../lib/ops/kernels/rows.ts";
import { gradientsOf, routedCall, sparseCase } from "../contract/cases/sparse_case.ts";
import { createStage } from "../contract/stage.ts";
import { openTestDevice } from "../cuda_library.ts";

openTestDevice();

const LANES = ["cpu", "cuda"] as const;

for (const place of LANES) {
  Deno.test(`rowsGather() and rowsAdd() refuse rows that are not there: ${place}`, () => {
    using lane = place === "cuda" ? new NativeContext("cuda") : new NativeContext({ threads: 1 });
    const [hi, lo, out] = [new Uint16Array(6), new Int16Array(6), new Float32Array(6)];
    for (const row of [-1, 3]) {
      const rows = Int32Array.of(0, row);
      const text = new RegExp(`rows_(gather|add): (rows|places)\\[1\\] is ${row}, expected 0 to 2`);
      assert.throws(() => rowsGather(lane, out, hi, lo, rows, 2, 3, 2, MEFT_F32), text);
      assert.throws(() => rowsAdd(lane, out, out, rows, 2, 3, 2, 3), text);
    }
    const one = Int32Array.of(0);
    assert.throws(() => rowsGather(lane, out, hi, lo, one, 1, 3, 2, MEFT_F16), /dtype is 2, expected/);
  });
}

Deno.test("adamwRows() and adamwRowsCatchUp() name what is wrong before anything is written", () => {
  using lane = new NativeContext({ threads: 1 });
  const [rows, hidden] = [3, 4];
  const [hi, lo] = [new Uint16Array(12).fill(7), new Int16Array(12).fill(7)];
  const [m, v, lastStep] = [new Float32Array(12), new Float32Array(12), new Int32Array(rows)];
  const grad = new Float32Array(8).fill(1), rates = Float32Array.of(0.1, 0.1);
  const params = (change: Partial<AdamwParams>) =>
    writeAdamwParams({
      ...{ mode: MEFT_ADAM_LAZY_EXACT, step: 1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
      ...{ gradScale: 1, ...change },
    });
  const step = (touched: readonly number[], change: Partial<AdamwParams> = {}) => () =>
    adamwRows(
      lane,
      ...[
        hi,
        lo,
        m,
        v,
        lastStep,
        grad,
        Int32Array.from(touched),
        rates,
        touched.length,
        rows,
        hidden,
      ] as const,
      params(change),
    );
  assert.throws(step([0, 3]), /rows\[1\] is 3, expected 0 to 2/);
  assert.throws(step([1, 1]), /row 1 is named twice/);
  assert.throws(step([1], { mode: 3 }), /mode is 3/);
  assert.throws(step([1], { step: 0 }), /step is 0/);
  assert.throws(step([1], { beta1: 1 }), /beta1 is 1/);
  assert.throws(step([1], { eps: 0 }), /eps is 0/);
  assert.throws(step([1], { weightDecay: -1 }), /weight_decay is -1/);
  assert.throws(step([1], { gradScale: Infinity }), /grad_scale is inf/);
  rates[1] = -1;
  assert.throws(step([1], { step: 2 }), /the learning rate of step 2 is -1/);
  assertSame([hi, lo, m], [new Uint16Array(12).fill(7), new Int16Array(12).fill(7), new Float32Array(12)]);
  step([1])();
  assert.throws(step([1]), /row 1 is current to step 1, so it cannot take step 1/);
  const catchUp = (...blocks: number[]) => () =>
    adamwRowsCatchUp(
      lane,
      ...[hi, lo, m, v, lastStep, Int32Array.from(blocks), rates, blocks.length, 1, hidden, 0] as const,
      params({}),
    );
  assert.throws(catchUp(1, 1), /blocks\[1\] is 1 after 1, expected increasing blocks/);
  assert.throws(catchUp(-1), /blocks\[0\] is -1/);
});

Deno.test("calls of the sparse adapter name what is wrong", async () => {
  using k = nativeKernels({ threads: 1, compute: "f32" });
  const stage = createStage(k), test = sparseCase("refused", [7, 37, 24, 4, 2, 3]);
  const call = await routedCall(stage, test);
  const routing = { ...call.routing, experts: new Int32Array(7 * 5) };
  const routed = (sizes: Partial<SparseShape>) => () =>
    k.sparseRoute({ ...call, routing, shape: { ...call.shape, ...sizes } });
  assert.throws(routed({ neurons: 25 }), /neurons is 25, expected a multiple of experts = 4/);
  assert.throws(routed({ activeExperts: 5 }), /active_experts is 5, expected 1 to 4/);
  assert.throws(routed({ topK: 0 }), /top_k is 0/);

  const y = stage.hostOutput(7 * 37);
  const experts = call.routing.experts.slice();
  experts[1] = experts[0] as number;
  assert.throws(
    () => k.sparseForward(y, { ...call, routing: { ...call.routing, experts } }),
    /experts\[1\] is \d, expected increasing experts/,
  );
  const count = await k.sparseForward(y, call), gradients = gradientsOf(stage, test);
  const outside = call.pairs.neurons.with(0, 24);
  assert.throws(() => k.sparseTouch(gradients, outside, count), /sparse_touch: a neuron/);
  k.sparseTouch(gradients, call.pairs.neurons, count);
  const neurons = call.pairs.neurons.subarray(0, count);
  const offsets = call.pairs.offsets.with(2, 0);
  assert.throws(
    () => k.sparseBackward({ ...call, pairs: { ...call.pairs, neurons, offsets } }, gradients, 0),
    /offsets\[2\] is 0 after/,
  );
  gradients.slots.fill(-1);
  assert.throws(
    () => k.sparseTouch(gradients, neurons, 3),
    /0 neurons have slots, but row_count is \d+/,
  );
});
