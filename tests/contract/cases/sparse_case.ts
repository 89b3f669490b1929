// SPDX-License-Identifier: Apache-2.0
/** A contract case of the sparse adapter: route, forward, touch and backward in one run. */
import assert from "node:assert/strict";
import type {
  Gate,
  RowGradients,
  Scope,
  SparseBackwardCall,
  SparseCall,
  SparsePairs,
  SparseShape,
} from "../../../lib/ops/kernels/rows.ts";
import type { Floats } from "../../../lib/tensor/tensor.ts";
import type { KernelCase, Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { sparseMagnitudes } from "./sparse_magnitudes.ts";

/** One adapter call. */
export interface SparseCase {
  readonly label: string;
  readonly shape: SparseShape;
  readonly frozenKeys: boolean;
  readonly frozenRouter: boolean;
  /** Small whole numbers, so that scores tie and every backend computes them exactly. */
  readonly ties: boolean;
  /** Every token prefers the last expert. */
  readonly oneExpert: boolean;
  /** Inputs that a product in bf16 rounds itself: see {@linkcode KernelCase.roundsInputs}. */
  readonly roundsInputs: boolean;
}

/** Choices of a {@linkcode sparseCase}. */
export type SparseOptions = Partial<Omit<SparseCase, "label" | "shape">> & {
  readonly gate?: Gate;
  readonly scope?: Scope;
};

/** (T, D, R, N, k_e, K). */
export type SparseSizes = readonly [number, number, number, number, number, number];

/** A case from its sizes. */
export function sparseCase(
  label: string,
  [tokens, hidden, neurons, experts, activeExperts, topK]: SparseSizes,
  options: SparseOptions = {},
): SparseCase {
  const { gate = "raw", scope = "token" } = options;
  return {
    label: `${gate} gate, ${scope} scope, ${label}`,
    shape: { gate, scope, tokens, hidden, neurons, experts, activeExperts, topK },
    frozenKeys: options.frozenKeys ?? false,
    frozenRouter: options.frozenRouter ?? gate === "none",
    ties: options.ties ?? false,
    oneExpert: options.oneExpert ?? false,
    roundsInputs: options.roundsInputs ?? false,
  };
}

/** The numbers an adapter call starts from. */
export function sparseInputs(stage: Stage, test: SparseCase) {
  const { tokens, hidden, neurons, experts } = test.shape;
  const whole = (name: string, count: number, range: number): Floats => {
    const values = stage.hostNormal(name, count, range);
    return stage.hostValues(values.map((x) => Math.max(-range, Math.min(range, Math.round(x)))));
  };
  const draw = (name: string, count: number) =>
    test.ties ? whole(name, count, 1) : stage.hostNormal(name, count);
  const changed = (values: Floats, change: (x: number, i: number) => number): Floats =>
    test.oneExpert ? stage.hostValues(values.map(change)) : values;
  return {
    h: changed(draw("h", tokens * hidden), Math.abs),
    gateWeight: changed(
      draw("gateWeight", experts * hidden),
      (x, i) => i >= (experts - 1) * hidden ? 1 + Math.abs(x) : -Math.abs(x),
    ),
    keys: draw("keys", neurons * hidden),
    values: draw("values", neurons * hidden),
    dy: stage.hostNormal("dy", tokens * hidden),
    dh: stage.hostNormal("dh", tokens * hidden),
    dgateWeight: stage.hostNormal("dgateWeight", experts * hidden),
  };
}

/** The call of a case, routed. There is room for all pairs that there can be. */
export async function routedCall(stage: Stage, test: SparseCase): Promise<SparseBackwardCall> {
  const { shape } = test;
  const { tokens, neurons, hidden, experts, activeExperts } = shape;
  const { keys, values, dgateWeight, ...input } = sparseInputs(stage, test);
  const call = {
    shape,
    ...input,
    dgateWeight: test.frozenRouter ? null : dgateWeight,
    keys: stage.rowMatrixOf(keys, neurons, hidden),
    values: stage.rowMatrixOf(values, neurons, hidden),
    routing: {
      logits: stage.hostOutput(tokens * experts),
      experts: stage.intOutput(tokens * activeExperts),
      expertTokens: stage.intOutput(experts),
    },
    pairs: pairsOf(stage, shape, tokens * (shape.scope === "union" ? neurons : shape.topK)),
  };
  await stage.k.sparseRoute(call);
  return call;
}

export function pairsOf(stage: Stage, { tokens }: SparseShape, room: number): SparsePairs {
  return {
    offsets: stage.intOutput(tokens + 1),
    neurons: stage.intOutput(room),
    dots: stage.hostOutput(room),
    scores: stage.hostOutput(room),
  };
}

/** The first `count` pairs. */
export function firedPairs({ offsets, neurons, dots, scores }: SparsePairs, count: number): SparsePairs {
  return {
    offsets,
    neurons: neurons.subarray(0, count),
    dots: dots.subarray(0, count),
    scores: scores.subarray(0, count),
  };
}

/** Room for the gradients of all rows, none touched. */
export function gradientsOf(stage: Stage, { shape, frozenKeys }: SparseCase): RowGradients {
  const room = shape.neurons * shape.hidden;
  return {
    slots: stage.intOutput(shape.neurons).fill(-1),
    rows: stage.intOutput(shape.neurons),
    rowCount: 0,
    keys: frozenKeys ? null : stage.hostOutput(room),
    values: stage.hostOutput(room),
  };
}

/** The way back of a call: what it touches first gets a new slot. @mutates call.dh, call.dgateWeight, gradients */
export async function addGradients(
  stage: Stage,
  call: SparseBackwardCall,
  gradients: RowGradients,
): Promise<void> {
  const { neurons } = call.pairs, firstNewSlot = gradients.rowCount;
  stage.k.sparseTouch(gradients, neurons, neurons.length);
  await stage.k.sparseBackward(call, gradients, firstNewSlot);
}

/** Everything that the kernels wrote. Routing reads h as it is, and so does the way back; only scores round it. */
export async function runSparse(stage: Stage, test: SparseCase): Promise<Outputs> {
  const { shape } = test;
  const routed = await routedCall(stage, test);
  const call = { ...routed, keys: stage.roundedRows(routed.keys), values: stage.roundedRows(routed.values) };
  const scored = { ...call, h: stage.rounded(call.h) };
  const y = stage.hostOutput(shape.tokens * shape.hidden);
  const count = await stage.k.sparseForward(y, scored);
  await assertTooLittleRoomIsReported(stage, scored, count);

  const gradients = gradientsOf(stage, test);
  const { dh, dgateWeight, routing } = call;
  const pairs = firedPairs(call.pairs, count);
  // Twice: new rows are written, then the same rows added to.
  for (let turn = 0; turn < 2; turn++) await addGradients(stage, { ...call, pairs }, gradients);
  const used = gradients.rowCount * shape.hidden;
  return {
    ...routing,
    ...pairs,
    y,
    slots: gradients.slots,
    rows: gradients.rows.subarray(0, gradients.rowCount),
    dh,
    dvalues: gradients.values.subarray(0, used),
    ...(gradients.keys ? { dkeys: gradients.keys.subarray(0, used) } : {}),
    ...(dgateWeight ? { dgateWeight } : {}),
  };
}

/** Union scope: with room for one pair less the number needed comes back, and nothing is written outside. */
async function assertTooLittleRoomIsReported(stage: Stage, call: SparseCall, count: number): Promise<void> {
  const { shape } = call;
  if (shape.scope !== "union" || count === 0) return;
  const y = stage.hostOutput(shape.tokens * shape.hidden);
  const pairs = pairsOf(stage, shape, count - 1);
  assert.equal(await stage.k.sparseForward(y, { ...call, pairs }), count);
}

/** Of every row, its place in a compact array of touched rows; zeros where it has none. */
export function spreadRows(compact: Floats, rows: Int32Array, { shape }: SparseCase): Float64Array {
  const { neurons, hidden } = shape;
  const whole = new Float64Array(neurons * hidden);
  rows.forEach((row, slot) => whole.set(compact.subarray(slot * hidden, (slot + 1) * hidden), row * hidden));
  return whole;
}

/** A case for the contract. */
export const sparseKernelCase = (test: SparseCase): KernelCase => ({
  name: `sparseRoute(), sparseForward(), sparseTouch() and sparseBackward(): ${test.label}`,
  run: (stage) => runSparse(stage, test),
  magnitudes: (stage, oracle) => sparseMagnitudes(stage, test, oracle),
  ...(test.roundsInputs && { roundsInputs: true }),
});
