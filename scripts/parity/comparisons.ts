// SPDX-License-Identifier: Apache-2.0
/** What `deno task parity` compares: whole trainings, saved adapters and merged models in transformers. */
import { join } from "node:path";
import { attachAdapter, forwardLogits } from "../../lib/internals/mod.ts";
import * as meft from "../../mod.ts";
import { logitsThere } from "./logits.ts";
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
import {
  differenceOverLargest,
  firstBatch,
  LOGITS_BOUND,
  LOSS_BOUND,
  type Verdict,
  verdict,
} from "./verdicts.ts";

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
    {
      name: "lora, upper layers, ranks and alphas by pattern",
      method: meft.lora({
        targets: String.raw`.*\.[1-3]\.(?:self_attn\.[qv]|mlp\.(?:gate|down))_proj`,
        rankPattern: { "3\\..*": 12, q: 3 },
        alphaPattern: { down: 40 },
      }),
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
  {
    name: "lora by pattern, ranks and alphas by pattern",
    method: meft.lora({
      targets: String.raw`model\.layers\.\d+\.(?:self_attn\.[qo]|mlp\.(?!up)\w+)_proj`,
      excludeTargets: ["layers.0.mlp.down_proj"],
      rankPattern: { q: 3, "layers\\.[12]\\.mlp\\..*": 12 },
      alphaPattern: { o_proj: 40 },
    }),
  },
  {
    name: "lora on the upper layers, by ends of names",
    method: meft.lora({
      targets: ["self_attn.v_proj", "up_proj", "model.layers.0.self_attn.k_proj"],
      layersToTransform: [2, 3],
      layersPattern: "layers",
    }),
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
    const training = meft.train(run, data);
    for await (const _ of training);
    const params = training.adapter as meft.AdapterParams;
    folders.push(join(folder, `saved-${i}`));
    await meft.saveAdapter(model, params, folders[i] as string);
    const attached = attachAdapter(model, params);
    here.push((await forwardLogits(attached.model, batch, attached.hooks)).data);
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
  for (const [i, parityCase] of trainings(steps).entries()) {
    const run = meft.plan(model, runOptions(parityCase));
    if (run.adapterKind.mergeRefusal !== undefined) continue;
    const training = meft.train(run, data);
    for await (const _ of training);
    const params = training.adapter as meft.AdapterParams;
    const [adapter, out] = ["trained", "merged"].map((kind) => join(folder, `${kind}-${i}`));
    await meft.saveAdapter(model, params, adapter as string);
    const attached = attachAdapter(model, params);
    const here = (await forwardLogits(attached.model, batch, attached.hooks)).data;
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
