// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a coefficient that grows into its place over a warm-up (Dr2Net, arXiv 2401.04105) learns more than one that stays: the
 * tables `minilm_lambda.csv` and `smollm2_lambda.csv`, of what `deno task study:reversible` brings.
 *
 *     deno run -A scripts/study/reversible/lambda.ts SETTINGS.json OUT.csv
 *
 * The settings are a run's, by the names of the flags, and `seeds`, `known` (files whose loss says what is forgotten; absent
 * for none) and `coefficients`: of each 2^-bits, or from 2^-from up to 2^-bits, a bit after the other over so many steps.
 */
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import type { AdapterParams } from "../../../lib/adapters/adapter.ts";
import { settingsOf } from "../../../lib/cli/flags/settings.ts";
import { studentHalf } from "../../../lib/evaluate/seeds.ts";
import type { Coupling } from "../../../lib/models/wiring/coupling.ts";
import { createResources, type Resources } from "../../../lib/study/resources.ts";
import { dataOptionsOf, runOptionsOf, type TrainSettings } from "../../../lib/train/settings.ts";
import { settleStreams } from "../../../lib/train/settle_streams.ts";
import * as meft from "../../../mod.ts";

/** A coefficient: 2^-bits, at once or after some steps. */
interface Coefficient {
  readonly bits: number;
  /** Bits before the first step. Default: it stays. */
  readonly from?: number;
  readonly steps?: number;
}

/** What a run with one seed came to. */
interface Found {
  /** Held out: mean loss, and the share of right answers where there are labels. */
  readonly loss: number;
  readonly accuracy: number;
  /** On what the model knew before. */
  readonly known: number;
}

/** b of a step, from 1: a pure function, so that resuming would change nothing. */
export function bitsAt({ bits, from = bits, steps = 0 }: Coefficient, step: number): number {
  return step > steps ? bits : Math.round(from + (bits - from) * step / steps);
}

/** An adapter whose small coefficients are those of the step; without a step, of the last. */
function scheduled(params: AdapterParams, coefficient: Coefficient): AdapterParams {
  return {
    ...params,
    attach(k, options) {
      const attached = params.attach(k, options);
      const { coupling } = attached.hooks;
      if (coupling === undefined) return attached;
      const value = 2 ** -bitsAt(coefficient, options?.training?.step ?? Infinity);
      const small = Object.fromEntries(coupling.of.small.map((name) => [name, value]));
      const moved: Coupling = { ...coupling, ...small };
      return { ...attached, hooks: { ...attached.hooks, coupling: moved } };
    },
  };
}

async function trainOnce(
  settings: TrainSettings,
  coefficient: Coefficient,
  known: readonly string[],
  resources: Resources,
): Promise<Found> {
  const [{ task }, model, data, held] = [
    await resources.task(settings),
    await resources.model(settings),
    await resources.data(settings),
    await resources.evalData(settings),
  ];
  if (held === null) throw new meft.UserError("eval-data is not set: on what is it to be compared?");
  const run = await settleStreams(meft.plan(model, runOptionsOf(settings, null, null)), data);
  const start = meft.init(run);
  let state = { ...start, params: scheduled(start.params, coefficient) };
  for (const step of meft.batches(run, data)) [state] = await meft.trainStep(run, state, step);
  const adapter = state.params;
  const { model: trained, hooks } = attachAdapter(model, adapter);
  const { accuracy } = await meft.scoreTask(model, task, { data: held }, { adapter });
  const before = known.length === 0 ? null : await task.load(known, model, dataOptionsOf(settings));
  const { loss } = await meft.datasetLoss(trained, held, { hooks, adapter });
  const forgotten = before && await meft.datasetLoss(trained, before, { hooks, adapter });
  adapter.release();
  return { loss, accuracy: accuracy?.mean ?? NaN, known: forgotten?.loss ?? NaN };
}

/** Mean and half of its 95% interval, as text; empty where there is no number. */
function withHalf(values: readonly number[]): string[] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const half = values.length > 1 ? studentHalf(values) : NaN;
  return [mean, half].map((value) => Number.isNaN(value) ? "" : value.toFixed(4));
}

const HEAD = "bits,from,steps,seeds,loss,half,accuracy,half,known loss,half,loss less that of the first,half";

/** A line of the table. @param first Of the first coefficient: differences are taken seed by seed */
export function tableLine(
  { bits, from = bits, steps = 0 }: Coefficient,
  found: readonly Found[],
  first: readonly Found[],
): string {
  const scores = (["loss", "accuracy", "known"] as const).map((name) => found.map((one) => one[name]));
  const differences = found.map(({ loss }, i) => loss - (first[i] as Found).loss);
  return [bits, from, steps, found.length, ...[...scores, differences].flatMap(withHalf)].join();
}

async function main([path = "", out = ""]: readonly string[]): Promise<void> {
  const { seeds, known = [], coefficients, ...flags } = JSON.parse(await Deno.readTextFile(path));
  using resources = createResources();
  const lines = [HEAD];
  let first: Found[] | null = null;
  for (const coefficient of coefficients as Coefficient[]) {
    const found: Found[] = [];
    for (const seed of seeds as number[]) {
      found.push(await trainOnce({ ...settingsOf(flags), seed }, coefficient, known, resources));
      console.error(JSON.stringify({ ...coefficient, seed, ...found.at(-1) }));
    }
    first ??= found;
    lines.push(tableLine(coefficient, found, first));
    await Deno.writeTextFile(out, `${lines.join("\n")}\n`);
  }
}

if (import.meta.main) await main(Deno.args);
