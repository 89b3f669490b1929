// SPDX-License-Identifier: Apache-2.0
/** Runs both halves of the study: classes that an encoder learns, and a text that a decoder does not know. */
import { join } from "node:path";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import type { AdapterParams } from "../../../lib/adapters/adapter.ts";
import { expandGrid } from "../../../lib/study/grid.ts";
import { createResources } from "../../../lib/study/resources.ts";
import { plan } from "../../../lib/train/plan.ts";
import { dataOptionsOf, runOptionsOf, type TrainSettings } from "../../../lib/train/settings.ts";
import { settleStreams } from "../../../lib/train/settle_streams.ts";
import * as meft from "../../../mod.ts";
import { type DoneCell, kept, runCells, type StudyConfig } from "../cells.ts";
import type { ClassesCell, ClassesResults, Cost, TextCell, TextLosses, TextResults } from "./results.ts";

/** Every cell of the classes. */
export async function runClasses(config: StudyConfig, threads: number): Promise<ClassesResults> {
  const cells: ClassesCell[] = [];
  for await (const cell of runCells(config, threads)) {
    const { "accuracy": accuracy, "f1-macro": f1 } = cell.numbers.scores;
    cells.push({ ...costOf(cell), accuracy: accuracy?.mean ?? NaN, f1: f1?.mean ?? NaN });
  }
  using resources = createResources();
  const test = await resources.evalData({ ...config.base, threads });
  return { testRows: test?.report.rowsUsed ?? 0, cells };
}

/**
 * Every cell of the text: its loss on books of it that no one has learnt from, and on English that the model knew.
 *
 * @param english The file of that
 */
export async function runText(config: StudyConfig, threads: number, english: string): Promise<TextResults> {
  const base = { ...config.base, threads };
  const before = await kept(join(config.out, "before.json"), () => lossesBefore(base, config.grids, english));
  const place = (cell: string) => join(config.out, "english", `${cell}.json`);
  const ask = async ({ cell, settings, model, adapter }: meft.TrainedCell) => {
    const data = await meft.loadData(english, model, dataOptionsOf(settings));
    await kept(place(cell), async () => await lossOf(model, data, adapter));
  };
  const cells: TextCell[] = [];
  for await (const cell of runCells(config, threads, ask)) {
    const forgotten: number = JSON.parse(await Deno.readTextFile(place(cell.cell)));
    cells.push({ ...costOf(cell), text: cell.numbers.evalLoss ?? NaN, english: forgotten });
  }
  return { ...before, cells };
}

function costOf({ settings, seed, numbers, times }: DoneCell): Cost {
  const { trainedParameters: trained, peakBytes, bytes: { weights = 0, activations = 0 } } = numbers;
  return {
    ...{ method: settings.method ?? "", seed, lr: settings.lr as number, trained },
    ...{ besideBytes: peakBytes - weights, activationBytes: activations, times },
  };
}

/** What every method begins with: adapters that add nothing, on the model's layers as the method joins them. */
async function lossesBefore(
  base: TrainSettings,
  grids: readonly meft.Grid[],
  english: string,
): Promise<Omit<TextResults, "cells">> {
  using resources = createResources();
  const [model, data, test] = [
    await resources.model(base),
    await resources.data(base),
    await resources.evalData(base),
  ];
  if (test === null) throw new RangeError("The study has held-out text");
  const known = await meft.loadData(english, model, dataOptionsOf(base));
  const of = async (adapter: AdapterParams | null): Promise<TextLosses> => ({
    text: await lossOf(model, test, adapter),
    english: await lossOf(model, known, adapter),
  });
  const starts: Record<string, TextLosses> = {};
  for (const { settings } of expandGrid(base, grids)) {
    const method = settings.method ?? "";
    if (starts[method]) continue;
    const run = await settleStreams(plan(model, runOptionsOf(settings, null, null)), data);
    const adapter = run.adapterKind.create(model.kernels, model, 0);
    try {
      adapter.init(model.kernels, run.settings.seed);
      starts[method] = await of(adapter);
    } finally {
      adapter.release();
    }
  }
  return { plain: await of(null), starts, trainRows: data.report.rowsUsed, testRows: test.report.rowsUsed };
}

async function lossOf(
  model: meft.OpenModel,
  data: meft.Dataset,
  adapter: AdapterParams | null,
): Promise<number> {
  const attached = attachAdapter(model, adapter);
  return (await meft.datasetLoss(attached.model, data, { hooks: attached.hooks, adapter })).loss;
}
