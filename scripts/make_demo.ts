// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task demo`: makes notebooks/demo anew from one seed: the facts, the held-out text, and a small llama model that
 * meft itself trains from random weights (full fine-tuning in f32, saved in bf16). About 20 minutes on two cores.
 */
import { join } from "node:path";
import { floatToBf16 } from "../lib/core/half.ts";
import { loadData } from "../lib/data/load_data.ts";
import { loadTokenizer } from "../lib/data/tokenizer.ts";
import { full } from "../lib/methods/methods.ts";
import { openCheckpoint } from "../lib/models/load.ts";
import { nativeKernels } from "../lib/ops/native/native_kernels.ts";
import { adamw } from "../lib/optim/registry.ts";
import { cosine } from "../lib/optim/schedule.ts";
import { createOutput } from "../lib/cli/output.ts";
import { createProgress } from "../lib/report/progress.ts";
import { writeSafetensors } from "../lib/tensor/write_safetensors.ts";
import { train } from "../lib/predict/train.ts";
import type { Training } from "../lib/train/loop.ts";
import { plan } from "../lib/train/plan.ts";
import { CONFIG, writeBlankModel } from "./demo/blank_model.ts";
import { trainTokenizer } from "./demo/bpe.ts";
import { makeTexts } from "./demo/texts.ts";
import { ensureBuilt } from "./build.ts";
import { helpIfAsked } from "./help.ts";
import { useTokenizersBinary } from "./tokenizers_binary.ts";

const SEED = 7;
const STEPS = 1200;
const OUT = decodeURIComponent(new URL("../notebooks/demo/", import.meta.url).pathname);

async function writeLines(path: string, rows: readonly object[]): Promise<void> {
  await Deno.writeTextFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

/** Saves what full fine-tuning made of the model, rounded to bf16, under the checkpoint's own names. */
async function saveModel({ adapter }: Training, folder: string): Promise<void> {
  const tensors = (adapter?.parameters ?? []).flatMap((parameter) =>
    parameter.kind === "dense"
      ? [{
        name: parameter.name,
        dtype: "bf16" as const,
        shape: parameter.shape,
        data: Uint16Array.from(parameter.data as Float32Array, floatToBf16),
      }]
      : []
  );
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  const config = { ...CONFIG, torch_dtype: "bfloat16" };
  await Deno.writeTextFile(join(folder, "config.json"), `${JSON.stringify(config, null, 1)}\n`);
}

async function trainModel(corpus: string, blank: string, folder: string): Promise<void> {
  using kernels = nativeKernels();
  const tokenizer = await loadTokenizer(blank);
  const data = await loadData(corpus, tokenizer, { seqLen: 128, lossOn: "completion" });
  using model = openCheckpoint(blank, kernels);
  const run = plan(model, {
    method: full(),
    optimizer: adamw({ lr: 3e-3, schedule: cosine({ warmupRatio: 0.05 }), weightDecay: 0.01, beta2: 0.98 }),
    batch: { size: 32, micro: 16, seqLen: 128, packing: true },
    steps: STEPS,
    seed: SEED,
  });
  const output = createOutput({ json: false, quiet: false });
  const progress = createProgress(output, "making the model", STEPS);
  const training = train(run, data);
  for await (const { step, loss, tokensPerSecond } of training) {
    progress.update(step, `loss ${loss.toFixed(3)}  ${Math.round(tokensPerSecond)} tokens/s`);
  }
  progress.finish();
  await saveModel(training, folder);
}

helpIfAsked("demo");
await ensureBuilt();
await useTokenizersBinary();
const texts = makeTexts(SEED);
const work = await Deno.makeTempDir();
try {
  const corpus = join(work, "corpus.jsonl");
  await writeLines(corpus, texts.corpus);
  const words = texts.corpus.map((row) =>
    "text" in row ? row.text : `Question: ${row.question}\nAnswer: ${row.answer}`
  );
  await writeBlankModel(work, trainTokenizer(words, CONFIG.vocab_size), SEED);
  const folder = join(OUT, "model");
  await Deno.mkdir(folder, { recursive: true });
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(join(work, name), join(folder, name));
  }
  await writeLines(join(OUT, "facts.jsonl"), texts.facts);
  await writeLines(join(OUT, "general.jsonl"), texts.heldOut);
  await trainModel(corpus, work, folder);
} finally {
  await Deno.remove(work, { recursive: true });
}
