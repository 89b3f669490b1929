// SPDX-License-Identifier: Apache-2.0
/** Contract cases of the sparse adapter: route, forward, touch and backward in one run, every mode and odd size. */
import assert from "node:assert/strict";
import type {
  Gate,
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
}

type Options = Partial<Omit<SparseCase, "label" | "shape">> & {
  readonly gate?: Gate;
  readonly scope?: Scope;
};

/** A case from (T, D, R, N, k_e, K). */
export function sparseCase(
  label: string,
  [tokens, hidden, neurons, experts, activeExperts, topK]: readonly [
    number,
    number,
    number,
    number,
    number,
    number,
  ],
  options: Options = {},
): SparseCase {
  const { gate = "raw", scope = "token" } = options;
  return {
    label: `${gate} gate, ${scope} scope, ${label}`,
    shape: { gate, scope, tokens, hidden, neurons, experts, activeExperts, topK },
    frozenKeys: options.frozenKeys ?? false,
    frozenRouter: options.frozenRouter ?? gate === "none",
    ties: options.ties ?? false,
    oneExpert: options.oneExpert ?? false,
  };
}

const GATES: readonly Gate[] = ["raw", "softmax", "sigmoid", "none"];
const SCOPES: readonly Scope[] = ["token", "union"];

const CASES: readonly SparseCase[] = [
  ...GATES.flatMap((gate) =>
    SCOPES.flatMap((scope) => [
      sparseCase("odd sizes", [7, 19, 24, 6, 2, 3], { gate, scope }),
      sparseCase("ties", [9, 5, 12, 4, 2, 3], {
        gate: gate === "softmax" ? "none" : gate,
        scope,
        ties: true,
      }),
      sparseCase("no tokens", [0, 3, 6, 3, 1, 2], { gate, scope }),
    ])
  ).filter((test, i, all) => all.findIndex(({ label }) => label === test.label) === i),
  sparseCase("one token, one neuron, one column", [1, 1, 1, 1, 1, 1]),
  sparseCase("one token", [1, 9, 12, 3, 1, 2]),
  sparseCase("primes", [11, 13, 35, 7, 3, 5]),
  sparseCase("K beyond the candidates", [6, 16, 12, 6, 2, 50]),
  sparseCase("K = R and N = 1", [5, 17, 23, 1, 1, 23], { gate: "none" }),
  sparseCase("all experts active", [6, 9, 20, 5, 5, 4], { gate: "softmax" }),
  sparseCase("one neuron an expert", [8, 12, 31, 31, 8, 4]),
  sparseCase("one expert taking all", [40, 15, 24, 4, 1, 3], { oneExpert: true }),
  sparseCase("frozen keys", [7, 19, 24, 6, 2, 3], { frozenKeys: true }),
  sparseCase("frozen router", [7, 19, 24, 6, 2, 3], { frozenRouter: true, gate: "sigmoid" }),
  sparseCase("many tokens", [150, 33, 96, 12, 3, 7]),
  sparseCase("many tokens", [90, 33, 96, 12, 3, 7], { gate: "softmax", scope: "union" }),
  sparseCase("wide rows", [21, 307, 64, 8, 2, 9], { gate: "sigmoid" }),
];

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
async function routedCall(stage: Stage, test: SparseCase): Promise<SparseBackwardCall> {
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

function pairsOf(stage: Stage, { tokens }: SparseShape, room: number): SparsePairs {
  return {
    offsets: stage.intOutput(tokens + 1),
    neurons: stage.intOutput(room),
    dots: stage.hostOutput(room),
    scores: stage.hostOutput(room),
  };
}

async function run(stage: Stage, test: SparseCase): Promise<Outputs> {
  const { shape } = test;
  const call = await routedCall(stage, test);
  const y = stage.hostOutput(shape.tokens * shape.hidden);
  const count = await stage.k.sparseForward(y, call);
  await assertTooLittleRoomIsReported(stage, call, count);

  const gradients = {
    slots: stage.intOutput(shape.neurons).fill(-1),
    rows: stage.intOutput(shape.neurons),
    rowCount: 0,
    keys: test.frozenKeys ? null : stage.hostOutput(shape.neurons * shape.hidden),
    values: stage.hostOutput(shape.neurons * shape.hidden),
  };
  const { dh, dgateWeight, routing } = call;
  const neurons = call.pairs.neurons.subarray(0, count);
  const pairs = {
    ...call.pairs,
    neurons,
    dots: call.pairs.dots.subarray(0, count),
    scores: call.pairs.scores.subarray(0, count),
  };
  // Twice: new rows are written, then the same rows added to.
  for (const firstNewSlot of [0, neurons.length === 0 ? 0 : new Set(neurons).size]) {
    stage.k.sparseTouch(gradients, neurons, count);
    await stage.k.sparseBackward({ ...call, pairs }, gradients, firstNewSlot);
  }
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

/** A case for the contract. */
export const sparseKernelCase = (test: SparseCase): KernelCase => ({
  name: `sparseRoute(), sparseForward(), sparseTouch() and sparseBackward(): ${test.label}`,
  run: (stage) => run(stage, test),
  magnitudes: (stage, oracle) => sparseMagnitudes(stage, test, oracle),
});

const LR = 0.25;

/** One backward pass in which the rows step. eps 1: then w moves by at most lr times an error of its gradient. */
async function stepRows(stage: Stage, test: SparseCase): Promise<Outputs> {
  const { shape } = test;
  const { k } = stage;
  const count = shape.neurons * shape.hidden;
  const call = await routedCall(stage, test);
  const { keys, values, dh, dgateWeight } = call;
  await k.sparseForward(stage.hostOutput(shape.tokens * shape.hidden), call);
  const moments = () => ({
    m: stage.hostOutput(count).fill(0),
    v: stage.hostOutput(count).fill(0),
    lastStep: stage.intOutput(shape.neurons).fill(0),
  });
  const [ofKeys, ofValues] = [moments(), moments()];
  const adam = {
    ...{ step: 1, beta1: 0.5, beta2: 0.75, eps: 1, weightDecay: 0, gradScale: 1 },
    lrHistory: stage.hostValues([LR]),
  };
  const step = {
    keys: test.frozenKeys ? null : ofKeys,
    values: ofValues,
    mode: "lazy-exact" as const,
    adam,
    clip: null,
  };
  await k.sparseBackwardStep(call, step);
  const [wkeys, wvalues] = [stage.hostOutput(count), stage.hostOutput(count)];
  k.rowMatrixRead(wkeys, keys, 0);
  k.rowMatrixRead(wvalues, values, 0);
  return {
    dh,
    ...(dgateWeight ? { dgateWeight } : {}),
    wkeys,
    wvalues,
    mkeys: ofKeys.m,
    mvalues: ofValues.m,
    stepOfKeys: ofKeys.lastStep,
    stepOfValues: ofValues.lastStep,
  };
}

/** Those of the gradients, row by row; m is half a gradient. */
async function stepMagnitudes(stage: Stage, test: SparseCase): Promise<Outputs> {
  const { hidden, neurons } = test.shape;
  const whole = await run(stage, test);
  const sizes = await sparseMagnitudes(stage, test, whole);
  const input = sparseInputs(stage, test);
  const spread = (compact: Outputs[string] | undefined): Float64Array => {
    const rows = new Float64Array(neurons * hidden);
    if (!compact) return rows;
    (whole.rows as Int32Array).forEach((row, slot) =>
      rows.set(compact.subarray(slot * hidden, (slot + 1) * hidden), row * hidden)
    );
    return rows;
  };
  const [dkeys, dvalues] = [spread(sizes.dkeys), spread(sizes.dvalues)];
  const moved = (w: Floats, grad: Float64Array) =>
    grad.map((g, i) => Math.abs(w[i] as number) + LR * (1 + g));
  return {
    dh: sizes.dh as Floats,
    ...(sizes.dgateWeight ? { dgateWeight: sizes.dgateWeight } : {}),
    wkeys: moved(input.keys, dkeys),
    wvalues: moved(input.values, dvalues),
    mkeys: dkeys,
    mvalues: dvalues,
  };
}

/** Cases of this family. */
export const sparseCases: readonly KernelCase[] = [
  ...CASES.map(sparseKernelCase),
  ...CASES.map((test): KernelCase => ({
    name: `sparseBackwardStep(): ${test.label}`,
    run: (stage) => stepRows(stage, test),
    magnitudes: (stage) => stepMagnitudes(stage, test),
  })),
];
