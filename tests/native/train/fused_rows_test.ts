// SPDX-License-Identifier: Apache-2.0
/** Rows that take their step in the backward pass: the bits of gradients written out, then used. */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { assertSame } from "../../compare.ts";
import { type StepData, trainingSteps } from "../../../lib/data/batches.ts";
import type { SparseOptions } from "../../../lib/adapters/sparse/config.ts";
import { sparse } from "../../../lib/methods/methods.ts";
import type { AdamMode } from "../../../lib/ops/kernels/rows.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { createRowGradients } from "../../../lib/ops/row_gradients.ts";
import {
  sparseBackward,
  sparseBackwardStep,
  sparseForward,
  type SparseParams,
} from "../../../lib/ops/sparse.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { clipFactor, globalNorm } from "../../../lib/optim/clip.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { accumulate, learningRate, NonFiniteError, trainStep, update } from "../../../lib/train/step.ts";
import { backends } from "../../contract/backends.ts";
import {
  parameterBytes,
  SMALL_SPARSE,
  smallData,
  smallModel,
  smallOptions,
} from "../../unit/train/small_run.ts";
import { now } from "../../now.ts";

const MODES: readonly AdamMode[] = ["lazy-exact", "dense", "lazy"];

/** One layer's adapter with moments, equal for equal kernels. */
function layer(k: Kernels, { D, R, N }: { D: number; R: number; N: number }, frozenKeys: boolean) {
  const normal = (count: number, stream: number, std: number) => {
    const x = k.floats(count);
    k.randomNormal(x, 5, stream, std);
    return x;
  };
  const params: SparseParams = {
    gateWeight: normal(N * D, 1, 0.5) as Float32Array,
    gateGrad: k.floats(N * D),
    keys: k.rowMatrix(R, D),
    values: k.rowMatrix(R, D),
    gradients: createRowGradients(k, R, D, { keys: !frozenKeys, slots: R }),
  };
  k.rowMatrixWrite(params.keys, normal(R * D, 2, 0.3), 0);
  k.rowMatrixWrite(params.values, normal(R * D, 3, 0.3), 0);
  const moments = () => ({ m: k.floats(R * D), v: k.floats(R * D), lastStep: new Int32Array(R) });
  return { params, keys: moments(), values: moments(), normal };
}

/** Some steps, and everything they leave. */
async function steps(
  k: Kernels,
  mode: AdamMode,
  clip: number | null,
  fused: boolean,
  { D, frozenKeys = false, tokens = 9 }: { D: number; frozenKeys?: boolean; tokens?: number },
) {
  const one = layer(k, { D, R: 24, N: 6 }, frozenKeys);
  const { params } = one;
  const config = { gate: "raw", scope: "token", experts: 6, activeExperts: 2, topK: 3 } as const;
  const kept: unknown[] = [];
  for (let step = 1; step <= 5; step++) {
    const h = { shape: [tokens, D], data: one.normal(tokens * D, 100 + step, 1) };
    const dy = { shape: [tokens, D], data: one.normal(tokens * D, 200 + step, 0.1) };
    const dh = { shape: [tokens, D], data: one.normal(tokens * D, 300 + step, 0.1) };
    const lrHistory = Float32Array.from({ length: step }, (_, i) => 0.01 / (i + 1));
    const hyper = { step, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, gradScale: 1, lrHistory };
    params.gateGrad?.fill(0);
    params.gradients.slots.fill(-1);
    params.gradients.rowCount = 0;
    const { residuals } = await sparseForward(k, params, h, config);
    if (fused) {
      const row = { keys: frozenKeys ? null : one.keys, values: one.values, mode, adam: hyper, clip };
      kept.push(await sparseBackwardStep(k, params, residuals, h, dy, { dh, step: row }));
    } else {
      await sparseBackward(k, params, residuals, h, dy, dh);
      const { rows, rowCount, keys, values } = params.gradients;
      const live = (x: typeof values) => x.subarray(0, rowCount * D) as Float32Array;
      const squares = [params.gateGrad, keys && live(keys), live(values)]
        .map((x) => x === null ? 0 : now(k.sumSquares(x))) as [number, number, number];
      kept.push(squares);
      const norm = Math.sqrt(squares[0] + squares[1] + squares[2]);
      const adam = { ...hyper, gradScale: clipFactor(norm, clip) };
      await k.adamwRows(params.values, one.values, live(values), rows, rowCount, mode, adam);
      if (keys) await k.adamwRows(params.keys, one.keys, live(keys), rows, rowCount, mode, adam);
    }
    kept.push(Array.from(dh.data), Array.from(params.gateGrad ?? []));
  }
  const { keys, values } = params;
  return [
    ...kept,
    keys.hi,
    keys.lo,
    values.hi,
    values.lo,
    ...Object.values(one.keys),
    ...Object.values(one.values),
  ]
    .map((x) => ArrayBuffer.isView(x) ? Array.from(x as unknown as ArrayLike<number>) : x);
}

for (const backend of backends()) {
  Deno.test(`sparseBackwardStep() gives the bits of sparseBackward() and adamwRows(), on 1 and 3 threads: ${backend.name}`, async () => {
    // 2731 columns: rows straddle the chunks that norms are summed in.
    const sizes = [{ D: 19 }, { D: 64, frozenKeys: true }, { D: 2731, tokens: 5 }, { D: 7, tokens: 0 }];
    for (const size of sizes) {
      for (const mode of MODES) {
        for (const clip of size.D === 19 ? [null, 0.05] : [0.05]) {
          using k = backend.open(1);
          const expected = await steps(k, mode, clip, false, size);
          for (const threads of [1, 3]) {
            using again = backend.open(threads);
            const actual = await steps(again, mode, clip, true, size);
            backend.assertRan(again, new Set(["sparseBackwardStep"]));
            const label = `${mode}, clip ${clip}, D ${size.D}, ${threads} threads`;
            actual.forEach((x, i) => assert.deepEqual(x, expected[i], `${label}: output ${i}`));
          }
        }
      }
    }
  });
}

Deno.test("sparseBackwardStep() moves no row when a gradient is not finite", async () => {
  using k = nativeKernels({ threads: 1, compute: "f32" });
  const one = layer(k, { D: 8, R: 12, N: 3 }, false);
  const [h, dy] = [one.normal(16, 9, 1), one.normal(16, 10, 1)];
  const shape = [2, 8];
  const config = { gate: "raw", scope: "token", experts: 3, activeExperts: 2, topK: 4 } as const;
  const { residuals } = await sparseForward(k, one.params, { shape, data: h }, config);
  dy[3] = Infinity;
  const before = [...one.params.keys.hi, ...one.params.values.hi, ...one.values.lastStep];
  const adam = {
    ...{ step: 1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1, gradScale: 1 },
    lrHistory: Float32Array.of(0.1),
  };
  const step = { keys: one.keys, values: one.values, mode: "dense", adam, clip: null } as const;
  const dh = { shape, data: k.floats(16) };
  const squares = await sparseBackwardStep(
    k,
    one.params,
    residuals,
    { shape, data: h },
    { shape, data: dy },
    {
      dh,
      step,
    },
  );
  assert.ok(!Number.isFinite(squares[0] + squares[1] + squares[2]));
  assert.deepEqual([...one.params.keys.hi, ...one.params.values.hi, ...one.values.lastStep], before);
});

/** Steps by accumulate() and update(), which write all gradients out. */
async function separately(run: Run, count: number) {
  let state = init(run);
  const norms: number[] = [];
  for (const data of firstSteps(run, count)) {
    const step = state.step + 1;
    await accumulate(run, state, data);
    norms.push(now(globalNorm(run.model.kernels, state.params.parameters)));
    state = await update(run, state, { step, lr: learningRate(run, step), gradScale: 1 }, data);
  }
  return { norms, state };
}

function firstSteps(run: Run, count: number): StepData[] {
  const steps: StepData[] = [];
  for (const data of trainingSteps(smallData(), batchOptions(run))) {
    steps.push(data);
    if (steps.length === count) break;
  }
  return steps;
}

const METHODS: readonly SparseOptions[] = [
  {},
  { scope: "union", gate: "softmax" },
  { keys: "frozen" },
  { gate: "none" },
];
const CLIPPING = [{ clip: null }, { clip: 0.02, clipBy: "layer" }] as const;
for (const [options, clipping] of METHODS.flatMap((one) => CLIPPING.map((clip) => [one, clip] as const))) {
  const title = `${JSON.stringify(options)}, ${JSON.stringify(clipping)}`;
  Deno.test(`trainStep() that steps rows in backward gives the bits of gradients written out: ${title}`, async () => {
    for (const mode of MODES) {
      for (const activations of ["store", "recompute"] as const) {
        using k = nativeKernels({ threads: 2 });
        using model = smallModel(k);
        const make = () =>
          plan(
            model,
            smallOptions({
              method: sparse({ ...SMALL_SPARSE, ...options }),
              batch: { size: 4, micro: 4, seqLen: 12 },
              optimizer: adamw({ lr: 0.01, ...clipping, weightDecay: 0.01, mode }),
              steps: 6,
              activations,
            }),
          );
        const [run, other] = [make(), make()];
        const expected = await separately(other, 6);
        let state = init(run);
        const norms: number[] = [];
        for (const data of firstSteps(run, 6)) {
          const [next, { gradNorm }] = await trainStep(run, state, data);
          state = next;
          norms.push(gradNorm);
        }
        assert.deepEqual(norms, expected.norms);
        const [actual, wanted] = [state, expected.state].map(({ params }) =>
          parameterBytes(params.parameters)
        );
        assertSame(actual, wanted, `${mode}, ${activations}`);
      }
    }
  });
}

type RowStepCall = Kernels["sparseBackwardStep"];
const whole = { size: 4, micro: 4, seqLen: 12 };

/** Kernels whose rows step in the backward pass by `call`, which is told how many such calls came before. */
function stepping(
  k: Kernels,
  call: (before: number, step: () => ReturnType<RowStepCall>) => unknown,
): Kernels {
  let calls = 0;
  return {
    ...k,
    sparseBackwardStep: (...passed) =>
      call(calls++, () => k.sparseBackwardStep(...passed)) as ReturnType<RowStepCall>,
  };
}

Deno.test("trainStep() has rows step in the backward pass where it is the step's only one, nothing clips, and no lane is beside", async () => {
  const fused: readonly [string, RunOptions, boolean][] = [
    ["one pass", { batch: whole }, true],
    ["two micro-batches", { batch: { ...whole, micro: 2 } }, false],
    ["two halves", { batch: whole, halves: 2 }, false],
    ["rows on the device", { batch: whole, placement: "device" }, false],
    ["a clip", { batch: whole, optimizer: adamw({ clip: 1 }) }, false],
  ];
  for (const beside of [false, true]) {
    for (const [label, options, expected] of fused) {
      using k = nativeKernels({ threads: 1, compute: "f32", async: beside });
      let calls = 0;
      const counted = stepping(k, (_, step) => {
        calls++;
        return step();
      });
      using model = smallModel(counted);
      const run = plan(model, smallOptions({ optimizer: adamw({ clip: null }), ...options }));
      const [data] = firstSteps(run, 1);
      assert.ok(data);
      await trainStep(run, init(run), data);
      assert.equal(calls, expected && !beside ? 2 : 0, `${label}, beside: ${beside}`); // two layers
    }
  }
});

/** A step without clipping over `kernels`: what it failed with, and whether parameters moved. */
async function failingStep(kernels: Kernels) {
  using model = smallModel(kernels);
  const run = plan(model, smallOptions({ optimizer: adamw({ clip: null, lr: 0.1 }), batch: whole }));
  const [data] = firstSteps(run, 1);
  assert.ok(data);
  const state = init(run);
  const before = parameterBytes(state.params.parameters);
  const error = await trainStep(run, state, data).then(() => null, (reason: unknown) => reason);
  assert.ok(error instanceof Error);
  const moved = !isDeepStrictEqual(parameterBytes(state.params.parameters), before);
  return { error, moved, spent: state.lease.spent };
}

Deno.test("trainStep() without clipping says when rows had moved before a gradient was not finite, and spends the state", async () => {
  using k = nativeKernels({ threads: 1, compute: "f32" });
  // The last layer's gradients, taken first, are finite; those of the layer below are not.
  const { error, moved, spent } = await failingStep(
    stepping(k, (before, step) => before === 1 ? [0, 0, Infinity] : step()),
  );
  assert.ok(!(error instanceof NonFiniteError));
  assert.match(error.message, /had taken their step by then: go on from a checkpoint/);
  assert.deepEqual([moved, spent], [true, true]);
});

Deno.test("trainStep() without clipping moves no row after a gradient or a loss that is not finite", async () => {
  using k = nativeKernels({ threads: 1, compute: "f32" });
  const gradient = stepping(k, (before, step) => before === 0 ? [0, 0, NaN] : step());
  const loss: Kernels = {
    ...k,
    crossEntropy(losses, ...passed) {
      k.crossEntropy(losses, ...passed);
      losses[1] = Infinity; // of a row that is a target; its gradient stays finite
    },
  };
  for (const kernels of [gradient, loss]) {
    const { error, moved, spent } = await failingStep(kernels);
    assert.ok(error instanceof NonFiniteError, String(error));
    assert.match(error.message, /nothing was changed$/);
    assert.deepEqual([moved, spent], [false, false]);
  }
});
