// SPDX-License-Identifier: Apache-2.0
/** LoRAs of every family and head, of PEFT's default targets and of all linear layers: its outputs here, and its folders of ours. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import type { JsonObject } from "../../../../lib/core/json.ts";
import type { Batch } from "../../../../lib/data/batch.ts";
import { forwardLogits } from "../../../../lib/models/engine/pass.ts";
import { FAMILIES } from "../../../../lib/models/families/registry.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { lastStack } from "../../../../lib/models/parts.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../../lib/tensor/safetensors.ts";
import { numel } from "../../../../lib/tensor/tensor.ts";
import { writeSafetensors } from "../../../../lib/tensor/write_safetensors.ts";
import { loadAdapter, openAdapter, openingOf, saveAdapter } from "../../../../lib/train/adapters.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { visionFixture } from "../../../fixtures/vision_fixture.ts";

interface Case {
  readonly checkpoint: string;
  readonly targets: string | readonly string[] | null;
  /** Why PEFT has no such LoRA. */
  readonly refused?: string;
  readonly fields: JsonObject;
  readonly tensors: Readonly<Record<string, readonly number[]>>;
  /** Evenly spaced elements of all outputs, in f64. */
  readonly outputs: readonly number[];
}

const PATH = fileURLToPath(new URL("../../../fixtures/lora_families.json.gz", import.meta.url));

async function readCases(): Promise<readonly Case[]> {
  using file = await Deno.open(PATH);
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).json();
}

/** The values of a tensor, as `value_of` of the script that makes the cases has them. */
function valuesOf(name: string, shape: readonly number[]): Float32Array {
  const key = [...name].reduce((sum, letter, place) => sum + letter.charCodeAt(0) * (place % 7 + 1), 0);
  return Float32Array.from({ length: numel(shape) }, (_, i) => ((key * 31 + i * 17) % 101 - 50) / 250);
}

async function writeFolder(folder: string, { fields, tensors }: Case): Promise<void> {
  const sources = Object.entries(tensors).map(([name, shape]) => ({
    ...{ name, dtype: "f32", shape } as const,
    data: () => [valuesOf(name, shape)],
  }));
  await writeSafetensors(join(folder, "adapter_model.safetensors"), sources, { format: "pt" });
  await Deno.writeTextFile(join(folder, "adapter_config.json"), JSON.stringify(fields));
}

/** Folder and batch of a checkpoint. */
function fixtureOf(checkpoint: string): { readonly dir: string; batchFor(model: Model): Batch } {
  const [kind, name] = checkpoint.split("/") as [string, string];
  if (kind === "vision") {
    const { dir, batch } = visionFixture(name);
    const of = ({ parts }: Model) => {
      const { input } = lastStack(parts);
      assert.ok(input.kind === "patches");
      return batch(input.shape, input.tokens.length);
    };
    return { dir, batchFor: of };
  }
  const { dir, batch } = kind === "models" ? modelFixture(name) : checkpointFixture(checkpoint);
  return { dir, batchFor: () => batch };
}

function samples(values: ArrayLike<number>, count: number): Float64Array {
  const at = (i: number) => Math.round(i * (values.length - 1) / (count - 1));
  return Float64Array.from({ length: count }, (_, i) => values[at(i)] as number);
}

/** A folder to keep what was saved in, for PEFT to read. */
const KEPT = Deno.env.get("MEFT_KEEP_LORAS");

for (const one of await readCases()) {
  const { checkpoint, targets, refused, tensors, outputs, fields } = one;
  if (refused !== undefined) continue;
  const name = `${checkpoint.replaceAll("/", "-")}-${[targets ?? "default"].flat().join("-")}`;
  Deno.test(`${name}, made by PEFT, gives its outputs here, and is saved as it was`, () =>
    withFolder(async (folder) => {
      await writeFolder(folder, one);
      const { dir, batchFor } = fixtureOf(checkpoint);
      const k = referenceKernels();
      if (fields["target_parameters"] !== undefined) {
        return await assert.rejects(openAdapter(folder), /deltas of parameters that are no linear layers/);
      }
      const saved = await openAdapter(folder);
      using model = openCheckpoint(dir, k, openingOf(saved));
      const params = await loadAdapter(model, saved);
      const attached = attachAdapter(model, params);
      const { data } = await forwardLogits(attached.model, batchFor(model), attached.hooks);
      const bound = 1e-9 * Math.max(1, ...outputs.map(Math.abs));
      assertWithin("outputs", samples(data, outputs.length), Float64Array.from(outputs), bound);
      const out = KEPT === undefined ? join(folder, "again") : join(KEPT, name);
      await saveAdapter(model, params, out);
      const again = readSafetensorsHeader(join(out, "adapter_model.safetensors")).tensors;
      assert.deepEqual([...again.keys()].sort(), Object.keys(tensors).sort());
      for (const [tensor, entry] of again) {
        const shape = tensors[tensor] as readonly number[];
        assert.deepEqual(entry.shape, shape, tensor);
        assertSame(readTensor(entry, "f64"), Float64Array.from(valuesOf(tensor, shape)), tensor);
      }
      const written = JSON.parse(await Deno.readTextFile(join(out, "adapter_config.json")));
      for (const field of ["r", "lora_alpha", "task_type", "peft_type"]) {
        assert.deepEqual(written[field] ?? null, fields[field] ?? null, field);
      }
    }));
}

Deno.test("there is a LoRA of every family", async () => {
  const tried = new Set<string>();
  for (const { checkpoint, refused } of await readCases()) {
    const { dir } = fixtureOf(checkpoint);
    const { model_type: family } = JSON.parse(await Deno.readTextFile(join(dir, "config.json")));
    if (refused === undefined) tried.add(family);
  }
  assert.deepEqual([...FAMILIES.keys()].filter((family) => !tried.has(family)), []);
});
