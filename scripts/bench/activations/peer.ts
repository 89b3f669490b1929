// SPDX-License-Identifier: Apache-2.0
/** Activations of PyTorch's full fine-tuning at the same shapes, as PyTorch itself counts them. */
import { join } from "node:path";
import { runPeer } from "../../parity/python.ts";
import type { ActivationBytes } from "./counted.ts";
import { configOf, type Shape } from "./shapes.ts";

/** Every shape with all layers stored, then every shape with checkpoints. */
export async function peerActivations(
  shapes: readonly Shape[],
  folder: string,
): Promise<{ readonly stored: ActivationBytes; readonly checkpointed: ActivationBytes }[]> {
  const cases = [false, true].flatMap((checkpointing) =>
    shapes.map((shape) => ({
      config: configOf(shape),
      rows: shape.rows,
      length: shape.length,
      checkpointing,
    }))
  );
  const file = join(folder, "activations.json");
  await Deno.writeTextFile(file, JSON.stringify(cases));
  const bytes: ActivationBytes[] = JSON.parse(await runPeer("activation_bytes.py", [file]));
  return shapes.map((_, i) => ({
    stored: bytes[i] as ActivationBytes,
    checkpointed: bytes[shapes.length + i] as ActivationBytes,
  }));
}
