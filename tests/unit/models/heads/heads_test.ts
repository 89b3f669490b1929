// SPDX-License-Identifier: Apache-2.0
/** Heads on whole sequences against transformers, and heads that a checkpoint lacks. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Batch } from "../../../../lib/data/batch.ts";
import { evaluateLoss } from "../../../../lib/models/engine/pass.ts";
import { splitBatch } from "../../../../lib/models/engine/interleave.ts";
import type { HeadConfig } from "../../../../lib/models/heads/head_config.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { allTensors } from "../../../../lib/models/part_tensors.ts";
import { parseConfig } from "../../../../lib/models/read_config.ts";
import { basePrefix, headNames } from "../../../../lib/models/tensor_names.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { checkpointFixture, HEAD_FIXTURES } from "../../../fixtures/checkpoint_fixture.ts";
import { assertWithin } from "../../../compare.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { testPasses } from "../pass_tests.ts";

const LABELS: HeadConfig = { kind: "classification", gives: "classes", labels: ["no", "yes"] };

for (const name of HEAD_FIXTURES) {
  testPasses(name);

  Deno.test(`a batch of ${name} is split between sequences alone, each part with its own targets`, async () => {
    const { dir, batch, expected } = checkpointFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const parts = splitBatch(batch)?.parts ?? [];
    assert.equal(parts.length, 2);
    let sum = 0; // one pass at a time: they share the arena
    for (const { batch: part } of parts) {
      sum += (await evaluateLoss(model, { ...part, targetCount: 0 }, {})).lossSum;
    }
    assertWithin("loss", [sum], expected("loss"), 1e-9);
    const alone: Batch = { ...batch, starts: Int32Array.of(0, batch.ids.length) };
    assert.equal(splitBatch(alone), null);
  });
}

Deno.test("a head that the checkpoint lacks is told of, has no values, and leaves the rest as it is", () => {
  for (const name of ["llama_linear", "qwen2_tied"]) {
    using model = openCheckpoint(modelFixture(name).dir, referenceKernels(), { head: LABELS });
    assert.match(
      model.warnings.join("\n"),
      /no such head: "score.weight" comes with an adapter, or starts fresh and has to be trained/,
    );
    assert.deepEqual([...model.fresh], ["score.weight"]);
    assert.deepEqual(headNames(model.config), ["score.weight"]);
    assert.equal(basePrefix(model.config), "model.");
    assert.equal(model.config.tieWordEmbeddings, false);
    assert.equal(allTensors(model.parts).find(({ name }) => name === "score.weight")?.rows, 2);
  }
});

Deno.test("a checkpoint's own head is found, and one of another size is refused", () => {
  const { dir } = checkpointFixture("heads/llama_labels");
  using model = openCheckpoint(dir, referenceKernels());
  assert.deepEqual(model.config.head, {
    kind: "classification",
    gives: "classes",
    labels: ["negative", "neutral", "positive"],
  });
  assert.throws(
    () => openCheckpoint(dir, referenceKernels(), { head: LABELS }),
    /"score.weight" in model.safetensors has shape .*3.*expected .*2/,
  );
});

Deno.test("labels, their number and what is compared are read as transformers has them", async () => {
  const fields = JSON.parse(
    await Deno.readTextFile(join(checkpointFixture("heads/llama_labels").dir, "config.json")),
  );
  const read = (change: Record<string, unknown>) => {
    const problems: string[] = [];
    const config = parseConfig({ ...fields, ...change }, problems);
    return problems.length > 0 ? problems.join("\n") : config?.head;
  };
  const classes = (...labels: string[]) => ({ kind: "classification", gives: "classes", labels });
  assert.deepEqual(read({ id2label: null }), classes("LABEL_0", "LABEL_1"));
  assert.deepEqual(read({ id2label: null, num_labels: 3 }), classes("LABEL_0", "LABEL_1", "LABEL_2"));
  assert.deepEqual(read({ id2label: { 0: "x" } }), {
    kind: "classification",
    gives: "values",
    labels: ["x"],
  });
  assert.deepEqual(read({ id2label: { 0: "x" }, problem_type: "single_label_classification" }), classes("x"));
  assert.match(String(read({ id2label: { 1: "x", 2: "y" } })), /"id2label".*a name for each number from 0/);
  assert.match(String(read({ num_labels: 0, id2label: null })), /"num_labels" is 0/);
  assert.match(String(read({ problem_type: "regression" })), /"problem_type".*one value is supported/);
  assert.match(
    String(read({ problem_type: "multi_label_classification" })),
    /"problem_type" is "multi_label/,
  );
});

Deno.test("targets of another kind, number or range are refused by name", async () => {
  const { dir, batch } = checkpointFixture("heads/llama_labels");
  using model = openCheckpoint(dir, referenceKernels());
  const loss = (targets: Batch["targets"]) => evaluateLoss(model, { ...batch, targets }, {});
  await assert.rejects(
    () => loss({ kind: "classes", labels: new Int32Array(3) }),
    /labels of the batch has 3 elements, expected 4/,
  );
  await assert.rejects(
    () => loss({ kind: "classes", labels: Int32Array.of(0, 0, 3, 0) }),
    /label of sequence 2 is 3/,
  );
  await assert.rejects(
    () => loss({ kind: "values", values: new Float64Array(4) }),
    /gives classes, the targets are values/,
  );
  await assert.rejects(
    () => loss({ kind: "tokens", ids: new Int32Array(29) }),
    /gives classes, the targets are tokens/,
  );
});
