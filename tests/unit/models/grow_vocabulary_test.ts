// SPDX-License-Identifier: Apache-2.0
/** Models with more tokens than their checkpoint has: tables grown by the mean of their rows, in the checkpoint's own types. */
import assert from "node:assert/strict";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Model } from "../../../lib/models/model.ts";
import { vocabularyTables, weightsByName } from "../../../lib/models/vocabulary.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { weightBytes } from "../../../lib/storage/weights.ts";
import { readFloatsInto } from "../../../lib/tensor/read_tensor.ts";
import type { TensorEntry } from "../../../lib/tensor/safetensors.ts";
import { numel } from "../../../lib/tensor/tensor.ts";
import { assertSame, assertWithin } from "../../compare.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { MODEL_FIXTURES, modelFixture } from "../../fixtures/model_fixture.ts";

function valuesOf(entry: TensorEntry): Float64Array {
  const values = new Float64Array(numel(entry.shape));
  readFloatsInto(values, entry);
  return values;
}

/** Means of the columns of a matrix (rows, cols), in f64. */
function means(values: Float64Array, cols: number): Float64Array {
  const rows = values.length / cols;
  return Float64Array.from({ length: cols }, (_, c) => {
    let sum = 0;
    for (let r = 0; r < rows; r++) sum += values[r * cols + c] as number;
    return sum / rows;
  });
}

/** Columns [0, width) of a matrix (rows, cols). */
function columns(values: ArrayLike<number>, cols: number, width: number): Float64Array {
  return Float64Array.from(
    { length: values.length / cols * width },
    (_, i) => values[Math.floor(i / width) * cols + i % width] as number,
  );
}

const logitsOf = async (model: Model, batch: Parameters<typeof forwardLogits>[1]) =>
  (await forwardLogits(model, batch, {})).data;

for (const name of MODEL_FIXTURES) {
  Deno.test(`${name} with more tokens: those it had have the same logits, and new ones that of the mean row`, async () => {
    const { dir, batch } = modelFixture(name);
    const k = referenceKernels();
    using own = openCheckpoint(dir, k);
    const before = own.config.vocabSize;
    using grown = openCheckpoint(dir, k, { vocabulary: { rows: before + 1, multipleOf: 4 } });
    const after = grown.config.vocabSize;
    assert.equal(after, Math.ceil((before + 1) / 4) * 4);
    assert.equal(grown.vocabulary?.storedRows, before);
    const [old, all] = [await logitsOf(own, batch), await logitsOf(grown, batch)];
    assertWithin("logits", columns(all, after, before), columns(old, before, before), 1e-12);
    const tables = vocabularyTables(own.config);
    assert.ok(tables);
    for (const tensor of [tables.embedding, tables.tied ? [] : tables.head as string].flat()) {
      const [stored, larger] = [own, grown].map(({ checkpoint }) => checkpoint.tensors.get(tensor)) as [
        TensorEntry,
        TensorEntry,
      ];
      assert.equal(larger.dtype, stored.dtype, "in its own type");
      const [base, values] = [valuesOf(stored), valuesOf(larger)];
      assertSame(values.subarray(0, base.length), base);
      const cols = stored.shape[1] as number;
      const mean = means(base, cols);
      const eps = { bf16: 2 ** -8, f16: 2 ** -11 }[stored.dtype as string] ?? 2 ** -24;
      const bound = eps * Math.max(...mean.map(Math.abs));
      for (let row = before; row < after; row++) {
        assertWithin("mean", values.subarray(row * cols, (row + 1) * cols), mean, bound);
      }
    }
    // Files say what a merged checkpoint is made of.
    const inFiles = grown.checkpoint.files.flatMap(({ tensors }) => [...tensors.values()]);
    assert.deepEqual(inFiles.find(({ name }) => name === tables.embedding)?.shape[0], after);
  });
}

Deno.test("a masked-LM head grows with its bias", () => {
  const k = referenceKernels();
  const { dir } = checkpointFixture("encoders/bert_masked");
  using own = openCheckpoint(dir, k);
  const before = own.config.vocabSize;
  using grown = openCheckpoint(dir, k, { vocabulary: { rows: before + 3 } });
  const { head } = grown.parts;
  assert.ok(head.kind === "masked-lm" && head.bias !== null);
  assert.deepEqual([head.weight.rows, head.bias.cols], [before + 3, before + 3]);
  const [bias, larger] = [own, grown].map(({ checkpoint }) =>
    valuesOf(checkpoint.tensors.get(head.bias?.name as string) as TensorEntry)
  ) as [Float64Array, Float64Array];
  assertWithin(
    "bias",
    larger.subarray(before),
    Float64Array.from({ length: 3 }, () => means(bias, 1)[0] as number),
    1e-7,
  );
});

Deno.test("a vocabulary that is large enough stays as it is, mapped", () => {
  const { dir } = modelFixture("qwen2_tied");
  using k = nativeKernels({ threads: 1 });
  for (const vocabulary of [{}, { rows: 61 }, { rows: 5 }, { multipleOf: 61 }]) {
    using model = openCheckpoint(dir, k, { vocabulary });
    assert.equal(model.vocabulary, undefined);
    assert.ok([...weightsByName(model).values()].every(({ mapped }) => mapped !== null));
  }
});

Deno.test("grown tables are held by the ledger as they are predicted, in every type", () => {
  for (const name of ["qwen2_tied", "mistral_bf16", "qwen2_window_f16", "llama_own_head"]) {
    using k = nativeKernels({ threads: 1 });
    {
      using model = openCheckpoint(modelFixture(name).dir, k, { vocabulary: { rows: 70 } });
      assert.equal(k.ledger.held.get("weights"), weightBytes(model.checkpoint), name);
    }
    assert.equal(k.ledger.held.get("weights") ?? 0, 0, name);
  }
});

for (const name of ["encoder_decoders/bart", "encoder_decoders/mbart"]) {
  Deno.test(`${name} with more tokens: one embedding grows for both stacks and the head, and a bias that nobody trains by zeros`, async () => {
    const { dir, batch } = checkpointFixture(name);
    const k = referenceKernels();
    using own = openCheckpoint(dir, k);
    const before = own.config.vocabSize;
    using grown = openCheckpoint(dir, k, { vocabulary: { rows: before + 2 } });
    const after = before + 2;
    const [old, all] = [await logitsOf(own, batch), await logitsOf(grown, batch)];
    assertWithin("logits", columns(all, after, before), columns(old, before, before), 1e-12);
    const bias = own.checkpoint.tensors.get("final_logits_bias");
    const biases = bias === undefined ? new Float64Array(before) : valuesOf(bias);
    // The mean row's logit is the mean of the logits without their biases.
    const mean = (row: number): number =>
      [...old.subarray(row * before, (row + 1) * before)].reduce(
        (sum, x, i) => sum + x - (biases[i] as number),
        0,
      ) / before;
    for (let row = 0; row < batch.ids.length; row++) {
      for (const column of [before, before + 1]) {
        assertWithin("new", [all[row * after + column] as number], [mean(row)], 1e-5);
      }
    }
    assert.deepEqual([...grown.vocabulary?.tables.keys() ?? []], ["model.shared.weight"]);
  });
}
