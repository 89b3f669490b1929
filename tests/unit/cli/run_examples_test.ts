// SPDX-License-Identifier: Apache-2.0
/** The questions of a run's report: as many as asked for, answered before and after, kept when a run goes on. */
import { LM_HEAD } from "../../../lib/models/heads/head_config.ts";
import { taskOf } from "../../../lib/tasks/registry.ts";
import assert from "node:assert/strict";
import type { Output } from "../../../lib/cli/output.ts";
import { answersAfter, answersBefore, type ExampleSession } from "../../../lib/cli/run_examples.ts";
import { sparse } from "../../../lib/methods/methods.ts";
import { writeExamples } from "../../../lib/report/run_record.ts";
import { loadData } from "../../../lib/data/load_data.ts";
import { loadModel } from "../../../lib/train/open_model.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { withFolder } from "../../fixtures/folder.ts";

Deno.test("answersBefore() asks four questions unless told how many, and keeps those of a run that goes on", () =>
  withFolder(async (out) => {
    using model = await loadModel("notebooks/demo/model", { device: "cpu", threads: 1, dtype: "f32" });
    const data = await loadData("notebooks/demo/facts.jsonl", model, { seqLen: 64, cache: false });
    const lines: string[] = [];
    const output = { line: (text: string) => void lines.push(text) } as unknown as Output;
    const run = plan(model, { method: sparse({ neurons: 16, experts: 4, topK: 4 }) });
    const session = (values: ExampleSession["values"]): ExampleSession => ({
      task: taskOf("causal-lm", { head: LM_HEAD, takes: "tokens" }),
      model,
      run,
      data,
      values,
      output,
    });
    const four = await answersBefore(out, session({}));
    assert.equal(four.length, 4);
    assert.deepEqual(await answersBefore(out, session({ examples: 0 })), []);
    assert.deepEqual(lines, ["asking 4 questions for the report before training"]);
    const [one] = await answersBefore(out, session({ examples: 1 }));
    assert.ok(one);
    assert.deepEqual([one.expected.length, one.after], [1, null]);
    assert.match(one.prompt, /Question: /);

    const known = [{ ...one, before: "as it was" }];
    await writeExamples(out, known);
    assert.deepEqual(await answersBefore(out, session({ resume: true })), known);
    assert.equal(
      (await answersBefore(out, session({ examples: 1 })))[0]?.before,
      one.before,
      "a new run asks anew",
    );
    await Deno.writeTextFile(`${out}/examples.json`, "{}");
    assert.equal((await answersBefore(out, session({ resume: true, examples: 1 })))[0]?.before, one.before);

    // An adapter that adds nothing yet answers as the model did, each question its own.
    const { params } = init(run);
    const shuffled = [...four].reverse();
    const after = await answersAfter(shuffled, params, session({}));
    params.release();
    assert.deepEqual(
      after.map(({ before, after }) => [before, after]),
      shuffled.map(({ before }) => [before, before]),
    );
    assert.ok(new Set(four.map(({ before }) => before)).size > 1);
  }));
