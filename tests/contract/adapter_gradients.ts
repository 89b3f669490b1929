// SPDX-License-Identifier: Apache-2.0
/** Gradients of whatever is trained, against finite differences of the loss, whichever way they are computed. */
import assert from "node:assert/strict";
import type { UndoingChoice } from "../../lib/activations/policy.ts";
import type { ActivationPolicyName } from "../../lib/activations/registry.ts";
import type { AdapterParams, AttachOptions, RowPlacement } from "../../lib/adapters/adapter.ts";
import { attachAdapter } from "../../lib/adapters/attach.ts";
import { randomNormal } from "../../lib/core/rng.ts";
import type { Batch } from "../../lib/data/batch.ts";
import { makeMicroBatch } from "../../lib/data/batches.ts";
import type { PartPlace } from "../../lib/models/engine/interleave.ts";
import { evaluateLoss } from "../../lib/models/engine/pass.ts";
import type { Model } from "../../lib/models/model.ts";
import { clearGradients, isTrained, type Parameter } from "../../lib/optim/parameters.ts";
import { microBatchGradients } from "../../lib/train/micro_batch.ts";
import { assertWithin, weightedSum } from "../compare.ts";
import { wholeGradients } from "../unit/train/gradients.ts";
import { smallData } from "../unit/train/small_run.ts";

/** What losses are of, where nothing else is said. */
export const batch = makeMicroBatch(smallData(), Int32Array.of(0, 3, 5)).batch;

/** Moves all parameters away from their start, so that nothing is zero by accident. */
export function stir(model: Model, params: AdapterParams): void {
  params.parameters.forEach((parameter, i) => {
    const values = read(model, parameter);
    const noise = model.kernels.floats(values.length);
    model.kernels.randomNormal(noise, 7, i, 0.1);
    write(model, parameter, values.map((value, j) => value + (noise[j] as number)));
  });
}

function read(model: Model, parameter: Parameter): Float64Array {
  if (parameter.kind === "dense") return Float64Array.from(parameter.data);
  const out = model.kernels.floats(parameter.matrix.rows * parameter.matrix.cols);
  model.kernels.rowMatrixRead(out, parameter.matrix, 0);
  return Float64Array.from(out);
}

function write(model: Model, parameter: Parameter, values: Float64Array): void {
  if (parameter.kind === "dense") return parameter.data.set(values);
  const rows = model.kernels.floats(values.length);
  rows.set(values);
  model.kernels.rowMatrixWrite(parameter.matrix, rows, 0);
}

/** Somewhere in training, so that masks that change from step to step are on. */
const PLACE = { seed: 9, step: 3, firstToken: 17, firstSource: 31, firstTarget: 5 };
/** Of the loss whose gradient is taken. */
const LOSS_SCALE = 0.5;

/** One way to compute the same gradients. */
export interface Way {
  readonly activations: ActivationPolicyName;
  readonly halves: 1 | 2;
  readonly placement: RowPlacement;
  /** How much of it is undone; all of it when absent. */
  readonly undoing?: UndoingChoice;
}

const HOST: RowPlacement = { kind: "host" };
/** All there are. */
export const WAYS: readonly Way[] = [
  { activations: "store", halves: 1, placement: HOST },
  { activations: "recompute", halves: 1, placement: HOST },
  { activations: "store", halves: 2, placement: HOST },
  { activations: "recompute", halves: 2, placement: HOST },
  { activations: "store", halves: 1, placement: { kind: "device", cachedRows: 5 } },
  { activations: "store", halves: 2, placement: { kind: "device", cachedRows: 12 } },
];

/** Loss and gradients in training, from no gradients. */
export async function gradientsOf(
  model: Model,
  params: AdapterParams,
  { activations, halves, placement, undoing }: Way,
  data: Batch,
) {
  clearGradients(model.kernels, params.parameters);
  const attach = (k: typeof model.kernels, part: PartPlace) =>
    attachAdapter(model, params, k, {
      training: {
        ...PLACE,
        firstToken: PLACE.firstToken + part.firstToken,
        firstSource: PLACE.firstSource + part.firstSource,
        firstTarget: PLACE.firstTarget + part.firstTarget,
      },
      placement,
    });
  const options = { activations, undoing, lossScale: LOSS_SCALE };
  const { lossSum } = await microBatchGradients(model.kernels, data, halves, attach, options);
  await params.collectGradients?.();
  return { lossSum, gradients: wholeGradients(params.parameters) };
}

/** Loss of the model with an adapter. */
export async function lossOf(
  model: Model,
  params: AdapterParams,
  options: AttachOptions,
  data: Batch = batch,
): Promise<number> {
  const attached = attachAdapter(model, params, model.kernels, options);
  return (await evaluateLoss(attached.model, data, attached.hooks)).lossSum;
}

/** How the scaled loss of training changes when a parameter moves along a direction. */
async function quotient(
  model: Model,
  params: AdapterParams,
  parameter: Parameter,
  direction: Float64Array,
  data: Batch,
): Promise<number> {
  const values = read(model, parameter);
  const step = 1e-6; // the choice of neurons is piecewise constant: keep clear of its edges
  const lossAt = async (along: number): Promise<number> => {
    write(model, parameter, values.map((value, i) => value + along * (direction[i] as number)));
    return await lossOf(model, params, { training: PLACE }, data);
  };
  const difference = await lossAt(step) - await lossAt(-step);
  write(model, parameter, values);
  return LOSS_SCALE * difference / (2 * step);
}

/** What keys have in common moves all scores of a query alike: softmax does not see it. */
const SAYS_NOTHING = /(key|k_proj|k_lin)\.bias$/;

/** Fails unless all gradients are those of finite differences, in each of the ways. @returns The loss in training */
export async function assertGradients(
  model: Model,
  params: AdapterParams,
  ways: readonly Way[],
  data: Batch = batch,
): Promise<number> {
  const trained = params.parameters.filter(isTrained);
  const loss = await lossOf(model, params, { training: PLACE }, data);
  // One derivative along a direction tells of all elements at once.
  const directions = trained.map((parameter, i) => {
    const direction = new Float64Array(read(model, parameter).length);
    randomNormal(direction, 13, i, 1);
    return direction;
  });
  const quotients: number[] = [];
  for (const [i, parameter] of trained.entries()) {
    quotients.push(await quotient(model, params, parameter, directions[i]!, data));
  }
  const idle = trained.filter(({ name }, i) => quotients[i] === 0 && !SAYS_NOTHING.test(name));
  assert.deepEqual(idle.map(({ name }) => name), [], "the loss depends on everything that is trained");
  for (const way of ways) {
    const title = JSON.stringify(way);
    const { lossSum, gradients } = await gradientsOf(model, params, way, data);
    assertWithin(`${title}: loss`, [lossSum], [loss], 1e-11);
    assert.deepEqual([...gradients.keys()], trained.map(({ name }) => name));
    const along = trained.map(({ name }, i) => weightedSum(gradients.get(name)!, directions[i]!));
    assertWithin(title, along, quotients, quotients.map((q) => 1e-6 * Math.max(0.1, Math.abs(q))));
  }
  return loss;
}
