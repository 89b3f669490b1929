// SPDX-License-Identifier: Apache-2.0
/**
 * What the bits that exact streams drop could be pressed into: their entropy, alone and given the bits above them, and the
 * width of blocks that are as wide as their largest value.
 *
 *     deno run -A scripts/study/reversible/dropped_bits.ts MODEL ROWS.jsonl BITS FRACTION
 *     deno run -A scripts/study/reversible/dropped_bits.ts runs/reversible/minilm \
 *         runs/reversible/definitions/test.jsonl 3 16
 *     deno run -A scripts/study/reversible/dropped_bits.ts runs/reversible/smollm2 \
 *         runs/reversible/verses/engWEB2015eb/english.jsonl 7 12
 *
 * The first 64 rows, as the task of the model's head reads them, are run through meft1 without adapters.
 */
import { sequentialBatches } from "../../../lib/data/batches.ts";
import { runStacks } from "../../../lib/models/engine/pass.ts";
import { type Coupling, COUPLINGS } from "../../../lib/models/wiring/coupling.ts";
import type { CouplingKernels } from "../../../lib/ops/kernels/coupling.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import * as meft from "../../../mod.ts";

/** Elements of a block, and the bits that say how wide its values are. */
const [BLOCK, WIDTH_BITS] = [512, 4];
const ROWS = 64;

/** Bits an element of one layer. */
interface Width {
  readonly alone: number;
  /** Given as many bits above them. */
  readonly given: number;
  readonly blocks: number;
}

/** sum of p log2(1/p), of counts. */
export function entropy(counts: ArrayLike<number>): number {
  const all = Array.from(counts);
  const total = all.reduce((sum, count) => sum + count, 0);
  return all.reduce((sum, count) => count === 0 ? sum : sum + count / total * Math.log2(total / count), 0);
}

/** What the lowest bits of integers take. */
export function widthOf(x: Int32Array, bits: number): Width {
  const mask = 2 ** bits - 1;
  const [low, high] = [new Float64Array(mask + 1), new Float64Array(mask + 1)];
  const both = new Float64Array((mask + 1) ** 2);
  let blocks = 0;
  for (let start = 0; start < x.length; start += BLOCK) {
    const block = x.subarray(start, start + BLOCK);
    let largest = 0;
    for (const value of block) {
      const [a, b] = [value & mask, (value >> bits) & mask];
      low[a] = (low[a] as number) + 1;
      high[b] = (high[b] as number) + 1;
      both[(b << bits) | a] = (both[(b << bits) | a] as number) + 1;
      largest = Math.max(largest, a);
    }
    blocks += WIDTH_BITS + block.length * (32 - Math.clz32(largest));
  }
  return { alone: entropy(low), given: entropy(both) - entropy(high), blocks: blocks / x.length };
}

async function main(
  [folder = "", rows = "", bitsText = "3", fractionText = "16"]: readonly string[],
): Promise<void> {
  const [bits, fraction] = [Number(bitsText), Number(fractionText)];
  const { task, head } = await meft.openTask({ model: folder, data: [rows] });
  using model = await meft.loadModel(folder, { dtype: "f32", head });
  const widths: Width[] = [];
  const couple: CouplingKernels["couple"] = (y, dropped, view, x, f, call, account) => {
    if (call.shift > 0) widths.push(widthOf(x, call.shift));
    model.kernels.couple(y, dropped, view, x, f, call, account);
  };
  const kernels: Kernels = Object.create(model.kernels, { couple: { value: couple } });
  const coupling: Coupling = {
    of: COUPLINGS.meft1,
    lambda: 2 ** -bits,
    beta: 1,
    switched: true,
    streams: { kind: "exact", fraction },
    top: "stream",
    lowest: 0,
  };
  const data = await task.load([rows], model, { seqLen: 128, lossOn: "all" });
  const first = sequentialBatches(data, ROWS).next().value;
  if (!first) throw new meft.UserError(`${rows} has no rows`);
  await runStacks({ ...model, kernels }, first.batch, { coupling });
  const over = (name: keyof Width) => widths.map((one) => one[name]);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  console.log(
    `${widths.length} layers, ${bits} bits dropped of each element of streams with ${fraction} fractional ones`,
  );
  for (
    const [name, text] of [["alone", "entropy"], ["given", "given the bits above"], [
      "blocks",
      "in blocks",
    ]] as const
  ) {
    console.log(
      `${text}: ${mean(over(name)).toFixed(3)} bits, ${
        Math.min(...over(name)).toFixed(3)
      } in the calmest layer`,
    );
  }
}

if (import.meta.main) await main(Deno.args);
