// SPDX-License-Identifier: Apache-2.0
/** A cell of the study in PyTorch: the same texts as the same tokens, in the same batches, at the same rates. */
import { type Dataset, exampleCount } from "../../../lib/data/dataset.ts";
import { scheduleFactor } from "../../../lib/optim/schedule.ts";
import type { Resources } from "../../../lib/study/resources.ts";
import { accuracy, f1Macro } from "../../../lib/tasks/metrics/classes.ts";
import { batches, runOn } from "../../../lib/train/batches.ts";
import { plan } from "../../../lib/train/plan.ts";
import { runOptionsOf, type TrainSettings } from "../../../lib/train/settings.ts";
import { runPeer } from "../../parity/python.ts";
import type { SideResult } from "./results.ts";

/** What `scripts/peers/classify.py` prints. */
interface PeerOutput {
  readonly version: string;
  readonly trained: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly predictions: readonly number[];
}

/** What a training there gave. */
export interface PeerResult extends SideResult {
  readonly trained: number;
  readonly version: string;
}

/** Trains and scores a cell in PyTorch. */
export async function runInPyTorch(settings: TrainSettings, resources: Resources): Promise<PeerResult> {
  const [model, data, test] = [
    await resources.model(settings),
    await resources.data(settings),
    await resources.evalData(settings),
  ];
  if (test === null) throw new RangeError("The study has test data");
  const run = runOn(plan(model, runOptionsOf(settings, null, null)), data);
  const { optimizer: { lr, schedule }, totalSteps } = run;
  const steps = [...batches(run, data)].map(({ microBatches }, i) => ({
    lr: Math.fround(lr * scheduleFactor(schedule, i + 1, totalSteps)),
    rows: microBatches.flatMap(({ examples }) => [...examples]),
  }));
  const record = {
    model: settings.model,
    method: run.method.name,
    sizes: run.adapterKind.config,
    classes: data.labels?.kind === "classes" ? data.labels.names.length : 0,
    seed: run.settings.seed,
    threads: settings.threads,
    optimizer: run.optimizer.config,
    steps,
    train: { ids: textsOf(data), labels: [...labelsOf(data)] },
    test: { ids: textsOf(test) },
  };
  const file = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await Deno.writeTextFile(file, JSON.stringify(record));
    const found: PeerOutput = JSON.parse(await runPeer("classify.py", [file]));
    const [truth, predicted] = [labelsOf(test), Int32Array.from(found.predictions)];
    const rows = steps.slice(1).reduce((sum, step) => sum + step.rows.length, 0);
    return {
      accuracy: accuracy(truth, predicted),
      f1: f1Macro(truth, predicted),
      times: { rows, seconds: found.seconds, cpuSeconds: found.cpuSeconds },
      trained: found.trained,
      version: found.version,
    };
  } finally {
    await Deno.remove(file);
  }
}

function textsOf({ ids, offsets }: Dataset): number[][] {
  return Array.from(
    { length: offsets.length - 1 },
    (_, row) => [...ids.subarray(offsets[row], offsets[row + 1])],
  );
}

function labelsOf(data: Dataset): Int32Array {
  const labels = data.labels?.of;
  if (!(labels instanceof Int32Array)) throw new RangeError(`${exampleCount(data)} rows have no classes`);
  return labels;
}
