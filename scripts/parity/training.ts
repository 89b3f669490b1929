// SPDX-License-Identifier: Apache-2.0
/** Trains here, through the public API, and writes down all that another trainer needs to do the same. */
import { join } from "node:path";
import * as meft from "../../mod.ts";
import { targetIds } from "../../lib/data/batch.ts";

/** One training to compare. */
export interface ParityCase {
  /** Shown in the table. */
  readonly name: string;
  readonly method: meft.Method;
  readonly optimizer: meft.AdamwOptions;
  readonly batch: NonNullable<meft.RunOptions["batch"]>;
  readonly steps: number;
}

/** What a training did here. */
export interface ParityRun {
  /** Loss of each step, in f32 products. */
  readonly losses: readonly number[];
  /** Everything needed to repeat it elsewhere: `scripts/peers/train.py` reads it. */
  readonly record: Readonly<Record<string, unknown>>;
}

/** The settings of {@linkcode meft.plan} that a case stands for. */
export function runOptions({ method, optimizer, batch, steps }: ParityCase): meft.RunOptions {
  return { method, optimizer: meft.adamw(optimizer), batch, steps };
}

/**
 * Trains a case from its seeded start.
 *
 * @param model On kernels with f32 products
 * @param adapterFolder Where the initial adapter is saved; null when nobody will read it
 */
export async function trainHere(
  model: meft.Model,
  data: meft.Dataset,
  parityCase: ParityCase,
  adapterFolder: string | null,
): Promise<ParityRun> {
  const run = meft.plan(model, runOptions(parityCase));
  let state = meft.init(run);
  // Full fine-tuning starts from the model itself.
  const saves = adapterFolder !== null && run.method.name !== "full";
  if (saves) await meft.saveAdapter(model, state.params, adapterFolder);
  const losses: number[] = [];
  const steps: unknown[] = [];
  for (const step of meft.batches(run, data)) {
    const [next, { loss, lr }] = await meft.trainStep(run, state, step);
    state = next;
    losses.push(loss);
    // Optimizers keep the rate as f32.
    steps.push({ lr: Math.fround(lr), ...stepRecord(step) });
  }
  const { beta1, beta2, eps, weightDecay, clip } = run.optimizer.config;
  const optimizer = { beta1, beta2, eps, weightDecay, clip };
  const adapter = saves ? adapterFolder : null;
  return { losses, record: { method: run.method.name, model: model.dir, adapter, optimizer, steps } };
}

function stepRecord({ microBatches, targetCount }: meft.StepData): Record<string, unknown> {
  return { targetCount, microBatches: microBatches.map(({ batch }) => batchRecord(batch)) };
}

/** A micro-batch as plain lists. */
export function batchRecord(batch: meft.Batch): Record<string, number[]> {
  const { ids, positions, starts } = batch;
  return { ids: [...ids], positions: [...positions], starts: [...starts], targets: [...targetIds(batch)] };
}

/** Writes a run's record for the other side. Returns its path. */
export async function writeRecord(folder: string, name: string, { record }: ParityRun): Promise<string> {
  const path = join(folder, `${name.replaceAll(/\W+/g, "-")}.json`);
  await Deno.writeTextFile(path, JSON.stringify(record));
  return path;
}

/** Largest |here - there| / |there|; NaN when a loss is missing or no number. */
export function largestRelativeDifference(here: readonly number[], there: readonly number[]): number {
  if (here.length !== there.length) return NaN;
  let most = 0;
  here.forEach((loss, i) => {
    const difference = Math.abs(loss - (there[i] as number)) / Math.abs(there[i] as number);
    if (!(difference <= most)) most = difference;
  });
  return most;
}
