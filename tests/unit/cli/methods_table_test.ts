// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { formatMethods, methodAccounts } from "../../../lib/cli/methods_table.ts";
import { TRAIN_FLAGS } from "../../../lib/cli/flags/train.ts";
import { refuseForeignFlags } from "../../../lib/cli/flags/train_options.ts";
import { type Method, METHOD_EXAMPLES, METHOD_NAMES } from "../../../lib/methods/methods.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { plan } from "../../../lib/train/plan.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { smallModel } from "../train/small_run.ts";

Deno.test("methodAccounts() tells every method's trained parameters and bytes as predictMemory() does", async () => {
  using model = smallModel();
  const { methods: accounts, refused } = await methodAccounts(model);
  assert.deepEqual(refused, []);
  assert.deepEqual(accounts.map(({ method }) => method), METHOD_NAMES);
  for (const { method, trainedParameters, trainedShare, bytes, totalBytes } of accounts) {
    const seqLen = model.config.maxPositionEmbeddings;
    const memory = await predictMemory(plan(model, {
      method: METHOD_EXAMPLES.find(({ name }) => name === method) as Method,
      batch: { seqLen: Math.min(256, seqLen) },
    }));
    assert.equal(trainedParameters, memory.trainedParameters);
    assert.ok(trainedParameters > 0);
    assert.equal(trainedShare, memory.trainedParameters / memory.modelParameters);
    assert.deepEqual(bytes, memory.bytes);
    assert.equal(totalBytes, Object.values(bytes).reduce<number>((sum, count) => sum + (count ?? 0), 0));
  }
  const full = accounts.find(({ method }) => method === "full");
  assert.equal(full?.trainedShare, 1);
});

Deno.test("formatMethods() has a line for each method, every class of memory, and why one does not merge", async () => {
  using model = smallModel();
  const accounts = await methodAccounts(model);
  const text = formatMethods(accounts);
  for (const { method, summary, bytes } of accounts.methods) {
    assert.match(text, new RegExp(`^${method} +\\d.* (yes|no)$`, "m"));
    assert.ok(text.includes(summary));
    for (const name of Object.keys(bytes)) assert.ok(text.includes(name), name);
  }
  assert.match(text, /^sparse does not merge: each token chooses/m);
});

Deno.test("methodAccounts() of a model that a method does not fit tells why, and all the others", async () => {
  // An encoder that is stored without the head its tokens are predicted by: that is trained whole.
  const { dir } = checkpointFixture("encoders/bert_labels");
  using model = openCheckpoint(dir, referenceKernels(), { head: { kind: "masked-lm" } });
  const accounts = await methodAccounts(model);
  assert.deepEqual(accounts.refused.map(({ method }) => method), ["tokens"]);
  assert.deepEqual(
    accounts.methods.map(({ method }) => method),
    METHOD_NAMES.filter((name) => name !== "tokens"),
  );
  assert.match(formatMethods(accounts), /^tokens does not fit: trainableTokenIndices trains rows of/m);
});

for (const method of METHOD_NAMES) {
  Deno.test(`refuseForeignFlags() refuses each flag that ${method} has no use for, by name, and no other`, () => {
    const values = Object.fromEntries(TRAIN_FLAGS.map(({ name }) => [name, "given"]));
    const problems: string[] = [];
    refuseForeignFlags(values, method, problems);
    const foreign = TRAIN_FLAGS.filter(({ methods }) => methods && !methods.includes(method));
    // Given all at once, flags also contradict one another, which is another matter.
    assert.deepEqual(
      problems.flatMap((problem) => /^--(\S+) does not apply to --method/.exec(problem)?.[1] ?? []),
      foreign.map(({ name }) => name),
    );
  });
}

Deno.test("flags are meant for methods that there are", () => {
  for (const { name, methods = [] } of TRAIN_FLAGS) {
    for (const method of methods) assert.ok(METHOD_NAMES.includes(method), `--${name}: ${method}`);
  }
});
