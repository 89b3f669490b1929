// SPDX-License-Identifier: Apache-2.0
/** Logits on the other side. */
import { join } from "node:path";
import { readTensor } from "../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../lib/tensor/safetensors.ts";
import { runPeer } from "./python.ts";

/** Logits of a model in transformers with each adapter, or of the model alone. */
export async function logitsThere(
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
