// SPDX-License-Identifier: Apache-2.0
/** A contract case of the sparse adapter whose rows step in the backward pass. */
import type { Floats } from "../../../lib/tensor/tensor.ts";
import type { KernelCase, Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { routedCall, runSparse, type SparseCase, sparseInputs, spreadRows } from "./sparse_case.ts";
import { sparseMagnitudes } from "./sparse_magnitudes.ts";

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
  const whole = await runSparse(stage, test);
  const sizes = await sparseMagnitudes(stage, test, whole);
  const input = sparseInputs(stage, test);
  const spread = (compact: Outputs[string] | undefined): Float64Array =>
    spreadRows((compact ?? new Float64Array(0)) as Floats, whole.rows as Int32Array, test);
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

/** A case for the contract. */
export const sparseStepCase = (test: SparseCase): KernelCase => ({
  name: `sparseBackwardStep(): ${test.label}`,
  run: (stage) => stepRows(stage, test),
  magnitudes: (stage) => stepMagnitudes(stage, test),
});
