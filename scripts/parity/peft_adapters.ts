// SPDX-License-Identifier: Apache-2.0
/** LoRAs of options drawn at random, both ways: PEFT saves and this reads, this saves and PEFT reads. */
import { join } from "node:path";
import { attachAdapter, forwardLogits } from "../../lib/internals/mod.ts";
import * as meft from "../../mod.ts";
import { readTensor } from "../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../lib/tensor/safetensors.ts";
import { differenceOverLargest, firstBatch, LOGITS_BOUND, type Verdict, verdict } from "./verdicts.ts";
import { logitsThere } from "./logits.ts";
import { runPeer } from "./python.ts";
import { batchRecord } from "./training.ts";

/**
 * Compares logits: PEFT's own with those of its folders here, and those with PEFT's of the same adapters saved again here.
 *
 * @param count Adapters to draw     @param folder For files in between
 */
export async function comparePeftAdapters(
  model: meft.Model,
  data: meft.Dataset,
  folder: string,
  { count, seed }: { readonly count: number; readonly seed: number },
): Promise<Verdict[]> {
  const batch = firstBatch(data);
  const [batchPath, theirs] = [join(folder, "peft-batch.json"), join(folder, "peft")];
  await Deno.mkdir(theirs);
  await Deno.writeTextFile(batchPath, JSON.stringify(batchRecord(batch)));
  await runPeer("make_loras.py", [model.dir, batchPath, theirs, String(count), String(seed)]);
  const { tensors } = readSafetensorsHeader(join(theirs, "logits.safetensors"));
  const again: string[] = [];
  const here: ArrayLike<number>[] = [];
  for (let i = 0; i < count; i++) {
    const params = await meft.loadAdapter(model, join(theirs, String(i)));
    const attached = attachAdapter(model, params);
    here.push((await forwardLogits(attached.model, batch, attached.hooks)).data);
    again.push(join(folder, `again-${i}`));
    await meft.saveAdapter(model, params, again[i] as string);
    params.release();
  }
  const back = await logitsThere(model.dir, batchPath, folder, again);
  const largest = (there: (i: number) => ArrayLike<number>): number =>
    here.reduce((most, logits, i) => {
      const difference = differenceOverLargest(logits, there(i));
      return difference <= most ? most : difference; // NaN stays
    }, 0);
  const read = largest((i) => readTensor(tensors.get(String(i)) as TensorEntry, "f32"));
  const saved = largest((i) => back[i] ?? []);
  return [
    verdict(`${count} LoRAs of PEFT's options, read: logits`, 0, read, LOGITS_BOUND),
    verdict(`${count} LoRAs of PEFT's options, saved again: logits`, 0, saved, LOGITS_BOUND),
  ];
}
