// SPDX-License-Identifier: Apache-2.0
/** What `deno task parity` compares: whole trainings, saved adapters and merged models in transformers. */
import { join } from "node:path";
import * as meft from "../../mod.ts";
import { readTensor } from "../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../lib/tensor/safetensors.ts";
import { runPeer } from "./python.ts";
import {
  batchRecord,
  largestRelativeDifference,
  type ParityCase,
  type ParityRun,
  runOptions,
  trainHere,
  writeRecord,
} from "./training.ts";

/** One row of the table. */
export interface Verdict {
  readonly what: string;
  readonly steps: number;
  /** Of losses: largest relative difference. Of logits: largest difference over the largest logit. */
  readonly largestDifference: number;
  readonly bound: number;
  readonly agrees: boolean;
}

/**
 * Largest relative difference of a loss. Both sides compute in f32 with sums in another order, so that losses differ by a
 * few eps (1.2e-7) from the first step on; AdamW's early steps, gradients divided by themselves, pass such differences on.
 * 50 steps were measured at 2e-7 to 5e-7. Another equation shows: a weight decay of 0.01 alone moves 20 steps by 5e-5.
 */
export const LOSS_BOUND = 1e-5;

/** Largest difference of a logit, over the largest logit: some eps for each of the sums a logit goes through. */
export const LOGITS_BOUND = 1e-5;

function verdict(what: string, steps: number, largestDifference: number, bound: number): Verdict {
  return { what, steps, largestDifference, bound, agrees: largestDifference <= bound };
}

/** The trainings, on the demo's model. */
export function trainings(steps: number): readonly ParityCase[] {
  const batch = { size: 8, micro: 4, seqLen: 64 };
  const common = { batch, steps };
  return [
    {
      name: "sparse, published modes",
      method: meft.sparse({ neurons: 1024 }),
      optimizer: { lr: 1e-3 },
      ...common,
    },
    {
      name: "sparse, softmax gate, union scope",
      method: meft.sparse({ neurons: 256, gate: "softmax", scope: "union", topK: 8 }),
      optimizer: { lr: 1e-3 },
      ...common,
    },
    {
      name: "parallel",
      method: meft.parallel({ neurons: 256 }),
      optimizer: { lr: 1e-3, weightDecay: 0.01 },
      ...common,
    },
    {
      name: "lora, all linear sites",
      method: meft.lora({ rank: 8 }),
      optimizer: { lr: 1e-3, weightDecay: 0.01 },
      ...common,
    },
    { name: "full", method: meft.full(), optimizer: { lr: 1e-4, weightDecay: 0.01 }, ...common },
  ];
}

/** Trains each case here and in PyTorch. @param folder For files in between */
export async function compareTrainings(
  model: meft.Model,
  data: meft.Dataset,
  cases: readonly ParityCase[],
  folder: string,
): Promise<Verdict[]> {
  const runs: ParityRun[] = [];
  const records: string[] = [];
  for (const [i, parityCase] of cases.entries()) {
    const run = await trainHere(model, data, parityCase, join(folder, `initial-${i}`));
    runs.push(run);
    records.push(await writeRecord(folder, `run-${i}`, run));
  }
  const there = await lossesOf(records);
  return cases.map(({ name, steps }, i) => {
    const difference = largestRelativeDifference((runs[i] as ParityRun).losses, there[i] ?? []);
    return verdict(name, steps, difference, LOSS_BOUND);
  });
}

/** Losses of recorded runs in PyTorch. */
export async function lossesOf(records: readonly string[]): Promise<number[][]> {
  const lines = (await runPeer("train.py", records)).trim().split("\n");
  return lines.map((line) => (JSON.parse(line) as { losses: number[] }).losses);
}

/** The sparse adapter with every gate in every scope, and LoRA with its other scale, on some of its sites. */
const SAVED: readonly { readonly name: string; readonly method: meft.Method }[] = [
  ...(["raw", "softmax", "sigmoid", "none"] as const).flatMap((gate) =>
    (["token", "union"] as const).map((scope) => ({
      name: `sparse, ${gate} gate, ${scope} scope`,
      method: meft.sparse({ neurons: 192, experts: 24, activeExperts: 3, topK: 6, gate, scope }),
    }))
  ),
  {
    name: "lora on q, v, down, rank-stabilised",
    method: meft.lora({ rank: 4, useRslora: true, targets: ["q", "v", "down"] }),
  },
];

/**
 * Trains adapters for a few steps, saves them, and compares logits with transformers', where `load_sparse.py` loads the
 * sparse ones and PEFT the others.
 */
export async function compareSavedAdapters(
  model: meft.Model,
  data: meft.Dataset,
  folder: string,
): Promise<Verdict[]> {
  const steps = 5;
  const batch = firstBatch(data);
  const batchPath = join(folder, "batch.json");
  await Deno.writeTextFile(batchPath, JSON.stringify(batchRecord(batch)));
  const here: ArrayLike<number>[] = [];
  const folders: string[] = [];
  for (const [i, { method }] of SAVED.entries()) {
    const run = meft.plan(model, {
      method,
      optimizer: meft.adamw({ lr: 1e-2 }),
      batch: { size: 8, micro: 4, seqLen: 64 },
      steps,
    });
    for await (const _ of meft.train(run, data));
    const params = run.adapter as meft.AdapterParams;
    folders.push(join(folder, `saved-${i}`));
    await meft.saveAdapter(model, params, folders[i] as string);
    const attached = params.attach(model.kernels);
    here.push((await meft.forwardLogits(attached.model, batch, attached.hooks)).data);
    params.release();
  }
  const there = await logitsThere(model.dir, batchPath, folder, folders);
  return SAVED.map(({ name }, i) => {
    const difference = differenceOverLargest(here[i] as ArrayLike<number>, there[i] as ArrayLike<number>);
    return verdict(`saved ${name}: logits`, steps, difference, LOGITS_BOUND);
  });
}

/** Trains adapters that can be merged, merges them in f32, and compares with the merged checkpoint in transformers. */
export async function compareMergedModels(
  model: meft.Model,
  data: meft.Dataset,
  folder: string,
): Promise<Verdict[]> {
  const steps = 5;
  const batch = firstBatch(data);
  const batchPath = join(folder, "batch.json");
  await Deno.writeTextFile(batchPath, JSON.stringify(batchRecord(batch)));
  const verdicts: Verdict[] = [];
  for (const parityCase of trainings(steps)) {
    const run = meft.plan(model, runOptions(parityCase));
    if (run.adapterKind.mergeRefusal !== undefined) continue;
    for await (const _ of meft.train(run, data));
    const params = run.adapter as meft.AdapterParams;
    const [adapter, out] = ["trained", "merged"].map((kind) => join(folder, `${kind}-${run.method.name}`));
    await meft.saveAdapter(model, params, adapter as string);
    const attached = params.attach(model.kernels);
    const here = (await meft.forwardLogits(attached.model, batch, attached.hooks)).data;
    params.release();
    await meft.mergeAdapter({
      model: model.dir,
      adapter: adapter as string,
      out: out as string,
      dtype: "f32",
    });
    const [there = []] = await logitsThere(out as string, batchPath, folder, []);
    const name = `merged ${parityCase.name}: logits`;
    verdicts.push(verdict(name, steps, differenceOverLargest(here, there), LOGITS_BOUND));
  }
  return verdicts;
}

/** Logits of a model in transformers with each adapter, or of the model alone. */
async function logitsThere(
  modelDir: string,
  batchPath: string,
  folder: string,
  adapters: readonly string[],
): Promise<ArrayLike<number>[]> {
  const out = join(folder, "logits.safetensors");
  await runPeer("logits.py", [modelDir, batchPath, out, ...adapters]);
  const { tensors } = readSafetensorsHeader(out);
  return Array.from(tensors.keys(), (_, i) => readTensor(tensors.get(String(i)) as TensorEntry, "f32"));
}

function firstBatch(data: meft.Dataset): meft.Batch {
  const step = meft.trainingSteps(data, { batchSize: 8, rows: "padding", shuffleSeed: 1 }).next().value;
  return (step.microBatches[0] as (typeof step.microBatches)[number]).batch;
}

function differenceOverLargest(here: ArrayLike<number>, there: ArrayLike<number>): number {
  if (here.length !== there.length) return NaN;
  let [most, largest] = [0, 0];
  for (let i = 0; i < here.length; i++) {
    const difference = Math.abs((here[i] as number) - (there[i] as number));
    if (!(difference <= most)) most = difference;
    largest = Math.max(largest, Math.abs(there[i] as number));
  }
  return most / largest;
}
