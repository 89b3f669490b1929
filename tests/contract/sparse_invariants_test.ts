// SPDX-License-Identifier: Apache-2.0
/** What must hold of the sparse adapter on every backend, whatever its numbers: no oracle needed. */
import assert from "node:assert/strict";
import type { Gate, Scope } from "../../lib/ops/kernels/rows.ts";
import { linearBackward, linearForward } from "../../lib/ops/linear.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { activationBackward, activationForward } from "../../lib/ops/activation.ts";
import { createRowGradients } from "../../lib/ops/row_gradients.ts";
import { sparseBackward, type SparseConfig, sparseForward, type SparseParams } from "../../lib/ops/sparse.ts";
import type { Floats, Tensor, Weight } from "../../lib/tensor/tensor.ts";
import { assertSameBits, assertWithin, EPS_F32 } from "../compare.ts";
import { onEveryBackend, type Written } from "./agreement.ts";
import { backends, machineTargets } from "./backends.ts";
import type { Outputs } from "./kernel_case.ts";
import { createStage, referenceStage, type Stage } from "./stage.ts";

const GATES: readonly Gate[] = ["raw", "softmax", "sigmoid", "none"];
const [TOKENS, HIDDEN, NEURONS] = [23, 21, 60];
const CONFIG = { scope: "token", experts: 6, activeExperts: 2, topK: 5 } as const;

function normal(stage: Stage, name: string, ...shape: number[]): Tensor {
  return { shape, data: stage.hostNormal(name, shape.reduce((a, b) => a * b, 1)) };
}

/** An adapter of (R,D) keys and values. */
function adapter(stage: Stage, experts: number, keys: Tensor, values: Tensor): SparseParams {
  const [rows, cols] = keys.shape as [number, number];
  return {
    gateWeight: normal(stage, "gate", experts, cols).data,
    gateGrad: stage.k.floats(experts * cols),
    keys: stage.rowMatrixOf(keys.data, rows, cols),
    values: stage.rowMatrixOf(values.data, rows, cols),
    gradients: createRowGradients(stage.k, rows, cols, { keys: true }),
  };
}

/** What a forward and a backward pass write, dh from nothing. */
async function pass(stage: Stage, params: SparseParams, h: Tensor, dy: Tensor, config: SparseConfig) {
  const dh: Tensor = { shape: h.shape, data: stage.hostOutput(h.data.length).fill(0) };
  const pending = sparseForward(stage.k, params, h, config);
  const { y, residuals } = await pending;
  await sparseBackward(stage.k, params, residuals, h, dy, dh);
  return { y: y.data, dh: dh.data, promised: pending instanceof Promise, pairs: residuals.pairCount };
}

/** On the reference and on every processor. */
async function everywhere(
  run: (stage: Stage) => Promise<Outputs>,
  check: (written: Written) => void,
): Promise<void> {
  check(await run(referenceStage()) as Written);
  await onEveryBackend(run, check, backends());
}

/** Tokens [begin, end). */
function part({ shape: [, cols = 0], data }: Tensor, begin: number, end: number): Tensor {
  return { shape: [end - begin, cols], data: data.subarray(begin * cols, end * cols) };
}

for (const gate of GATES) {
  Deno.test(`sparseForward() with values of zero is exactly zero: ${gate} gate`, async () => {
    for (const scope of ["token", "union"] as const) {
      await everywhere(async (stage) => {
        const zeros: Tensor = { shape: [NEURONS, HIDDEN], data: stage.k.floats(NEURONS * HIDDEN) };
        const params = adapter(stage, CONFIG.experts, normal(stage, "keys", NEURONS, HIDDEN), zeros);
        const h = normal(stage, "h", TOKENS, HIDDEN);
        return { y: (await sparseForward(stage.k, params, h, { ...CONFIG, gate, scope })).y.data };
      }, ({ y }) => assertWithin("y", y!, new Float64Array(TOKENS * HIDDEN), 0));
    }
  });

  // Long rows, or more gate factors than a task takes.
  const [experts, hidden] = gate === "raw" ? [4, 600] : [16, 37];
  Deno.test(`a token gets the same bits whatever other tokens are in the call: ${gate} gate`, () =>
    onEveryBackend(async (stage) => {
      const [keys, values] = [normal(stage, "keys", 64, hidden), normal(stage, "values", 64, hidden)];
      const [h, dy] = [normal(stage, "h", 300, hidden), normal(stage, "dy", 300, hidden)];
      const of = async (begin: number, end: number) => {
        const params = adapter(stage, experts, keys, values);
        const config = { gate, scope: "token", experts, activeExperts: 2, topK: 6 } as const;
        const { y, dh } = await pass(stage, params, part(h, begin, end), part(dy, begin, end), config);
        return { y, dh };
      };
      const parts: Outputs[] = [];
      for (const [begin, end] of [[0, 113], [113, 114], [114, 300]] as const) {
        parts.push(await of(begin, end));
      }
      const joined = (name: string) => Float64Array.from(parts.flatMap((one) => [...one[name] as Floats]));
      return { ...await of(0, 300), yOfParts: joined("y"), dhOfParts: joined("dh") };
    }, ({ y, dh, yOfParts, dhOfParts }) => {
      assertSameBits("y", y!, yOfParts!);
      assertSameBits("dh", dh!, dhOfParts!);
    }, backends()));
}

/** Everything that a step writes. */
async function step(
  scope: Scope,
  gate: Gate,
  options: Parameters<typeof nativeKernels>[0],
): Promise<Readonly<Record<string, ArrayLike<number>>>> {
  using k = nativeKernels(options);
  const stage = createStage(k);
  const [keys, values] = [normal(stage, "keys", NEURONS, HIDDEN), normal(stage, "values", NEURONS, HIDDEN)];
  const params = adapter(stage, CONFIG.experts, keys, values);
  const [h, dy] = [normal(stage, "h", TOKENS, HIDDEN), normal(stage, "dy", TOKENS, HIDDEN)];
  const { y, dh, promised, pairs } = await pass(stage, params, h, dy, { ...CONFIG, gate, scope });
  assert.equal(promised, options?.async === true);
  assert.ok(pairs > TOKENS, "the adapter fires");
  const { rows, rowCount, keys: dkeys, values: dvalues } = params.gradients;
  const used = rowCount * HIDDEN;
  return {
    ...{ y, dh, dgateWeight: params.gateGrad as Floats, rows: rows.subarray(0, rowCount) },
    ...{ dkeys: (dkeys as Floats).subarray(0, used), dvalues: dvalues.subarray(0, used) },
  };
}

for (const scope of ["token", "union"] as const) {
  for (const gate of GATES) {
    Deno.test(`the sparse adapter gives the same bits inline and on a lane of promises, for any threads: ${gate} gate, ${scope} scope`, async () => {
      for (const target of machineTargets()) {
        for (const compute of ["f32", "bf16"] as const) {
          const first = await step(scope, gate, { target, compute, threads: 1 });
          assert.ok(Object.values(first).every((array) => Array.from(array).every(Number.isFinite)));
          for (const [threads, async] of [[2, false], [3, false], [1, true], [2, true], [3, true]] as const) {
            const other = await step(scope, gate, { target, compute, threads, async });
            for (const name in first) {
              assertSameBits(`${name} of ${target}, ${threads} threads`, other[name]!, first[name]!);
            }
          }
        }
      }
    });
  }
}

/** Halves of quarters: exact in bf16, to which the sparse kernels round where products are. */
function coarse(stage: Stage, name: string, ...shape: number[]): Tensor {
  const { data } = normal(stage, name, ...shape);
  return { shape, data: stage.hostValues(data.map((x) => Math.round(8 * x) / 8)) };
}

/** The adapter without a gate as dense layers, in f64: keys (R,D), and values transposed to (D,R). */
function denseAdapter(h: Tensor, dy: Tensor, keys: Tensor, values: Tensor) {
  const oracle = referenceKernels();
  const wide = (tensor: Tensor): Tensor => ({ shape: tensor.shape, data: Float64Array.from(tensor.data) });
  const down = weight("keys", Float64Array.from(keys.data), NEURONS, HIDDEN);
  const up = weight("values", transposed(values.data, NEURONS), HIDDEN, NEURONS);
  const fired = activationForward(oracle, { x: linearForward(oracle, wide(h), down), up: null }, "relu");
  const y = linearForward(oracle, fired, up);
  const dfired = linearBackward(oracle, fired, up, wide(dy));
  const { dx: dsum } = activationBackward(oracle, { x: fired, up: null }, "relu", dfired);
  const dh = linearBackward(oracle, wide(h), down, dsum);
  return { y: y.data, dh: dh.data, dkeys: down.grad!, dvalues: transposed(up.grad!, HIDDEN) };
}

function weight(name: string, data: Float64Array, rows: number, cols: number): Weight {
  return { name, dtype: "f64", rows, cols, data, mapped: null, grad: new Float64Array(rows * cols) };
}

/** (rows,cols) to (cols,rows). */
function transposed(x: Floats, rows: number): Float64Array {
  const cols = x.length / rows;
  return Float64Array.from(x, (_, i) => x[(i % rows) * cols + Math.floor(i / rows)] as number);
}

Deno.test("the dense limit (K = R, N = 1, no gate) equals a ReLU parallel adapter of linear layers", () => {
  const config = { gate: "none", scope: "token", experts: 1, activeExperts: 1, topK: NEURONS } as const;
  const names = ["y", "dh", "dkeys", "dvalues"] as const;
  return everywhere(async (stage) => {
    const [keys, values] = [coarse(stage, "keys", NEURONS, HIDDEN), coarse(stage, "values", NEURONS, HIDDEN)];
    const [h, dy] = [coarse(stage, "h", TOKENS, HIDDEN), coarse(stage, "dy", TOKENS, HIDDEN)];
    const params = adapter(stage, 1, keys, values);
    const { y, dh } = await pass(stage, params, h, dy, config);
    const spread = (compact: Floats) => {
      const whole = new Float64Array(NEURONS * HIDDEN);
      params.gradients.rows.subarray(0, params.gradients.rowCount).forEach((row, slot) =>
        whole.set(compact.subarray(slot * HIDDEN, (slot + 1) * HIDDEN), row * HIDDEN)
      );
      return whole;
    };
    const dkeys = spread(params.gradients.keys as Floats), dvalues = spread(params.gradients.values);
    const dense = denseAdapter(h, dy, keys, values);
    return {
      ...{ y, dh, dkeys, dvalues },
      ...Object.fromEntries(names.map((name) => [`dense ${name}`, dense[name]])),
    };
  }, (written) => {
    for (const name of names) {
      const expected = written[`dense ${name}`]!;
      const largest = Math.max(...Array.from(expected, Math.abs));
      assertWithin(name, written[name]!, expected, 16 * EPS_F32 * largest);
    }
  });
});
