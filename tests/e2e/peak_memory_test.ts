// SPDX-License-Identifier: Apache-2.0
/** The peak of a training process as `--dry-run` predicts it, and as the system then counts it. */
import { ok, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { writeCheckpoint } from "../../scripts/bench/checkpoint.ts";
import { withFolder } from "../fixtures/folder.ts";

/** Of the measured peak. */
const BOUND = 0.1;

interface Shape {
  readonly name: string;
  readonly dtype: "f32" | "bf16";
  readonly hidden: number;
  readonly layers: number;
  readonly inner: number;
  readonly vocabulary: number;
  /** Tokens of every row. */
  readonly rowTokens: number;
  /** Default 256. */
  readonly rows?: number;
  readonly flags: readonly string[];
}

const SHAPES: readonly Shape[] = [
  {
    name: "sparse, stored, long rows",
    dtype: "bf16",
    hidden: 256,
    layers: 4,
    inner: 704,
    vocabulary: 4000,
    rowTokens: 250,
    flags: ["--neurons", "4096", "--batch-size", "4", "--micro-batch-size", "4"],
  },
  {
    name: "sparse, accumulated, short rows where long ones are allowed",
    dtype: "bf16",
    hidden: 256,
    layers: 4,
    inner: 704,
    vocabulary: 4000,
    rowTokens: 24,
    flags: ["--neurons", "4096", "--batch-size", "64", "--micro-batch-size", "16"],
  },
  {
    name: "parallel, recomputed",
    dtype: "bf16",
    hidden: 256,
    layers: 6,
    inner: 704,
    vocabulary: 4000,
    rowTokens: 250,
    flags: [
      "--method",
      "parallel",
      "--neurons",
      "2048",
      "--activations",
      "recompute",
      "--batch-size",
      "4",
      "--micro-batch-size",
      "2",
    ],
  },
  {
    name: "lora in f32, a large vocabulary",
    dtype: "f32",
    hidden: 192,
    layers: 4,
    inner: 512,
    vocabulary: 32000,
    rowTokens: 250,
    flags: ["--method", "lora", "--dtype", "f32", "--batch-size", "4", "--micro-batch-size", "4"],
  },
  {
    name: "full, stored",
    dtype: "f32",
    hidden: 256,
    layers: 4,
    inner: 704,
    vocabulary: 8000,
    rowTokens: 120,
    flags: ["--method", "full", "--dtype", "f32", "--batch-size", "8", "--micro-batch-size", "4"],
  },
  {
    name: "full, recomputed",
    dtype: "bf16",
    hidden: 256,
    layers: 8,
    inner: 704,
    vocabulary: 4000,
    rowTokens: 250,
    flags: ["--method", "full", "--activations", "recompute", "--batch-size", "4", "--micro-batch-size", "2"],
  },
  {
    name: "sparse, scope union, packed",
    dtype: "bf16",
    hidden: 256,
    layers: 4,
    inner: 704,
    vocabulary: 4000,
    rowTokens: 90,
    flags: [
      "--neurons",
      "4096",
      "--scope",
      "union",
      "--packing",
      "--batch-size",
      "4",
      "--micro-batch-size",
      "4",
    ],
  },
  {
    name: "lora, packed",
    dtype: "bf16",
    hidden: 256,
    layers: 8,
    inner: 704,
    vocabulary: 16000,
    rowTokens: 90,
    flags: ["--method", "lora", "--packing", "--batch-size", "4", "--micro-batch-size", "4"],
  },
  {
    name: "lora, one long sequence",
    dtype: "bf16",
    hidden: 256,
    layers: 2,
    inner: 704,
    vocabulary: 4000,
    rowTokens: 4000,
    rows: 8,
    flags: ["--method", "lora", "--seq-len", "4096", "--batch-size", "1", "--micro-batch-size", "1"],
  },
];

/** A tokenizer that knows words w0, w1, ...: as many tokens a row as it has words. */
function wordTokenizer(vocabulary: number): unknown {
  const vocab = Object.fromEntries(
    Array.from({ length: vocabulary }, (_, i) => [i < 2 ? `<${i}>` : `w${i}`, i]),
  );
  return {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: { type: "WordLevel", vocab, unk_token: "<0>" },
  };
}

async function writeModel(parent: string, shape: Shape): Promise<string> {
  const { hidden, layers, inner, vocabulary, dtype } = shape;
  const sizes = { hidden, layers, heads: hidden / 64, kvHeads: hidden / 64, inner, vocabulary };
  const { folder } = await writeCheckpoint(parent, sizes, dtype, 1);
  await Deno.writeTextFile(join(folder, "tokenizer.json"), JSON.stringify(wordTokenizer(vocabulary)));
  await Deno.writeTextFile(join(folder, "tokenizer_config.json"), JSON.stringify({ eos_token: "<1>" }));
  const rows = Array.from({ length: shape.rows ?? 256 }, (_, row) => {
    const words = Array.from(
      { length: shape.rowTokens },
      (_, i) => `w${2 + (row * 7919 + i * 104729) % (vocabulary - 2)}`,
    );
    return JSON.stringify({ text: words.join(" ") });
  });
  await Deno.writeTextFile(join(folder, "rows.jsonl"), rows.join("\n"));
  return folder;
}

async function train(folder: string, flags: readonly string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--allow-all", "scripts/meft.ts", "train"],
      ...["--model", folder, "--data", join(folder, "rows.jsonl"), "--loss-on", "all"],
      ...["--steps", "2", "--json", "--quiet", ...flags],
    ],
  }).output();
  strictEqual(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

for (const shape of SHAPES) {
  Deno.test(`a dry run predicts the peak of the process within a tenth: ${shape.name}`, () =>
    withFolder(async (parent) => {
      const folder = await writeModel(parent, shape);
      const dry = await train(folder, [...shape.flags, "--dry-run"]);
      const run = await train(folder, [...shape.flags, "--out", join(parent, "run")]);
      const measured = run["peakHostBytes"] as number;
      for (const predicted of [dry["processPeakBytes"], run["predictedPeakBytes"]] as number[]) {
        const difference = predicted / measured - 1;
        const message = `${(predicted / 2 ** 20).toFixed(1)} MiB predicted, ${
          (measured / 2 ** 20).toFixed(1)
        } measured`;
        ok(Math.abs(difference) <= BOUND, message);
      }
    }));
}
