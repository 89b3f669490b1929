// SPDX-License-Identifier: Apache-2.0
/** What a training says of itself: while it goes on, and in its account at the end. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { beside, describeFit, formatFlags, memoryProblem } from "../../../lib/cli/host_memory.ts";
import type { Output } from "../../../lib/cli/output.ts";
import { describeRun } from "../../../lib/cli/run_table.ts";
import { createStartup, formatStartup } from "../../../lib/cli/startup.ts";
import { trainWithProgress } from "../../../lib/cli/training.ts";
import type { Fit } from "../../../lib/predict/fit.ts";
import type { TrainEvent } from "../../../lib/train/loop.ts";
import { type MemoryPrediction, predictMemory } from "../../../lib/predict/memory.ts";
import { plan } from "../../../lib/train/plan.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { smallData, smallModel, smallOptions } from "../train/small_run.ts";

/** An output that is no terminal, and what was written to it. */
function listening(): { readonly output: Output; readonly written: string[] } {
  const written: string[] = [];
  const write = (text: string) => void written.push(text);
  const output = { isTerminal: false, columns: null, json: false, color: false, write, eraseLine: () => {} };
  return { output: { ...output, line: (text) => write(`${text}\n`) } as Output, written };
}

Deno.test("trainWithProgress() accounts for the steps that were taken: losses, tokens, times; and shows each", () =>
  withFolder(async (folder) => {
    const out = join(folder, "run");
    const run = plan(smallModel(), smallOptions({ out, steps: 5, saveEvery: 2, evalEvery: 2 }));
    const events: TrainEvent[] = [];
    const { output, written } = listening();
    const startMs = performance.now();
    const account = await trainWithProgress(run, smallData(), {
      ...{ resume: false, evalData: smallData(3, 8), flags: { lr: 0.5 } },
      afterStep: (event) => Promise.resolve(void events.push(event)),
    }, output);
    const elapsedMs = performance.now() - startMs;
    assert.deepEqual(events.map(({ step }) => step), [1, 2, 3, 4, 5]);
    assert.deepEqual([account.steps, account.interrupted, account.adapter], [5, false, join(out, "adapter")]);
    assert.deepEqual([account.lossFirst, account.lossLast], [events[0]?.loss, events[4]?.loss]);
    assert.equal(account.evalLoss, events[4]?.evalLoss);
    const sum = (of: (event: TrainEvent) => number) => events.reduce((total, event) => total + of(event), 0);
    assert.equal(account.tokens, sum(({ tokens }) => tokens));
    assert.equal(account.travelledBytes, 0);
    const stepSeconds = sum(({ tokens, tokensPerSecond }) => tokens / tokensPerSecond);
    assert.ok(Math.abs(account.tokensPerSecond * stepSeconds / account.tokens - 1) < 1e-9);
    assert.ok(account.seconds * 1000 <= elapsedMs && account.seconds > stepSeconds);
    const { parameters, "first step": first } = account.startup;
    assert.ok(parameters > 0 && parameters < elapsedMs && first >= 0 && first < elapsedMs);

    // The first step and the last one are shown, and every checkpoint.
    const text = written.join("");
    const { loss, lr, tokensPerSecond, evalLoss, lanes } = events[4] as TrainEvent;
    assert.ok(text.includes(
      `training 5/5  loss ${loss.toFixed(4)}  lr ${lr.toExponential(2)}  ${
        Math.round(tokensPerSecond)
      } tokens/s  ` +
        `bound: ${lanes.bound}  eval loss ${evalLoss?.toFixed(4)}  0.0 s left\n`,
    ));
    assert.match(
      text,
      /^training 1\/5 {2}loss \d\.\d{4} {2}lr \d\.\d{2}e-\d {2}\d+ tokens\/s {2}bound: \w+ {2}[\d.]+ s left\n/,
    );
    const saved = [...text.matchAll(/^saved .*(step-\d+)$/gm)].map(([, name]) => name);
    assert.deepEqual(saved, ["step-000002", "step-000004", "step-000005"]);
    assert.deepEqual(JSON.parse(await Deno.readTextFile(join(out, "run.json"))).flags, { lr: 0.5 });

    // Resumed with nothing left to do, no step has a loss.
    const again = plan(smallModel(), smallOptions({ out, steps: 5 }));
    const options = { resume: true, evalData: null, flags: {}, afterStep: () => Promise.resolve() };
    const nothing = await trainWithProgress(again, smallData(), options, listening().output);
    assert.deepEqual([nothing.steps, nothing.lossFirst, nothing.lossLast, nothing.evalLoss, nothing.tokens], [
      ...[5, null, null, null, 0],
    ]);
    const more = plan(smallModel(), smallOptions({ out, steps: 6 }));
    const said = listening();
    const rest = await trainWithProgress(more, smallData(), options, said.output);
    assert.deepEqual([rest.steps, rest.lossFirst === rest.lossLast], [6, true]);
    assert.match(said.written.join(""), /^training 6\/6 /, "progress counts from where it goes on");
  }));

Deno.test("createStartup() tells what each part took, and formatStartup() all of them and their sum", () => {
  let nowMs = 1200;
  const startup = createStartup(() => nowMs);
  nowMs = 1260;
  startup.mark("model");
  nowMs = 3260;
  startup.mark("data");
  assert.deepEqual(startup.parts, { runtime: 1200, model: 60, data: 2000 });
  assert.equal(formatStartup(startup.parts), "3.3 s: runtime 1.2 s, model 60 ms, data 2.0 s");
});

const FIT: Fit = {
  fits: true,
  neededBytes: 2 ** 30,
  availableBytes: 2 ** 31,
  weightsStay: true,
  advice: null,
};

Deno.test("describeFit() says whether a run fits, whether its weights stay, and what would do", () => {
  const sizes = "the run needs 1.00 GiB of host memory besides the mapped weights, 2.00 GiB are free";
  assert.equal(describeFit(FIT), `It fits: ${sizes}.`);
  assert.equal(
    describeFit({ ...FIT, weightsStay: false }),
    "It fits, but the weights do not stay in memory with it, so that every step reads some of them from the disk " +
      `again: ${sizes}.`,
  );
  const advice = { flags: { "micro-batch-size": 2, activations: "recompute" }, neededBytes: 2 ** 20 };
  assert.equal(
    describeFit({ ...FIT, fits: false, weightsStay: false, advice }),
    `Not on this machine: ${sizes}: with --micro-batch-size 2 --activations recompute it would need 1.00 MiB.`,
  );
  assert.match(
    describeFit({ ...FIT, fits: false }),
    /are free: train by another method, or free some memory\.$/,
  );
  assert.equal(formatFlags({ neurons: 8, gate: "raw" }), "--neurons 8 --gate raw");
});

Deno.test("memoryProblem() counts what a run surely holds, to the byte; beside() compares by what came", () => {
  const memory = { bytes: { parameters: 3 * 2 ** 20, optimizer: 5 * 2 ** 20, activations: 2 ** 40 } };
  const problem = (available: number) => memoryProblem(memory as unknown as MemoryPrediction, available);
  assert.equal(problem(8 * 2 ** 20), null);
  assert.match(
    problem(8 * 2 ** 20 - 1) ?? "",
    /^The run needs 8\.00 MiB of host memory .*, but 8\.00 MiB are free: train/,
  );
  assert.equal(beside(100 * 2 ** 20, 106 * 2 ** 20), "100.00 MiB; 106.00 MiB predicted, 6.0 % more");
  assert.match(beside(0, 0), /predicted, 0\.0 % more$/);
  assert.equal(beside(100 * 2 ** 20, 90 * 2 ** 20), "100.00 MiB; 90.00 MiB predicted, 10.0 % less");
});

Deno.test("describeRun() names model, method with its sizes as flags, what is trained, where rows are, and the folder", async () => {
  const run = plan(smallModel(), smallOptions({ out: "runs/a" }));
  const memory = await predictMemory(run);
  const rows = new Map(
    describeRun(run, { name: "causal-lm" }, { memory }, null).split("\n").map((line) => {
      const [name = "", value = ""] = line.trim().split(/ {2,}/);
      return [name, value] as const;
    }),
  );
  assert.match(rows.get("model") ?? "", /llama3_tied \(\d+\.\d k parameters, llama\)$/);
  assert.equal(rows.get("task"), "causal-lm");
  assert.match(rows.get("method") ?? "", /^sparse: /);
  assert.deepEqual(["neurons", "experts", "active-experts", "top-k"].map((name) => rows.get(name)), [
    "48",
    "12",
    "2",
    "3",
  ]);
  const share = memory.adapterShare;
  const trained = memory.trainedParameters;
  assert.equal(rows.get("trained"), `${trained} parameters, ${(100 * share).toFixed(1)} % of the model`);
  assert.equal(rows.get("rows"), "placement host");
  assert.equal(rows.get("folder"), "runs/a");
  const onDevice = plan(smallModel(), smallOptions({ placement: "device", halves: 2, cachedRows: 8 }));
  const said = describeRun(onDevice, { name: "causal-lm" }, { memory }, smallData());
  assert.match(said, /^rows +placement device, 8 of each layer cached, micro-batches in halves$/m);
  assert.match(said, /^folder +none$/m);
  const { report } = smallData();
  for (const line of [/^read +12$/m, /^used +12$/m, new RegExp(`^tokens +${report.tokens}$`, "m")]) {
    assert.match(said, line);
  }
  assert.match(said, new RegExp(`^targets +${report.targets}$`, "m"));
});
