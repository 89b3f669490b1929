// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../../compare.ts";
import { UserError } from "../../../lib/core/errors.ts";
import { full, type Method, parallel, sparse } from "../../../lib/methods/methods.ts";
import type { AdamMode } from "../../../lib/ops/kernels/rows.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { train, type TrainEvent, type TrainOptions, type TrainResult } from "../../../lib/train/loop.ts";
import { evaluateState } from "../../../lib/train/guarded.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../../lib/tensor/safetensors.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { NonFiniteError } from "../../../lib/train/step.ts";
import { parameterBytes, SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";

/** Trains to the end, or until `stopAfter` events were taken, as a reader does who leaves the loop. */
async function runAll(
  options: RunOptions,
  trainOptions: TrainOptions = {},
  stopAfter = Infinity,
): Promise<{ events: TrainEvent[]; result: TrainResult | null; bits: Map<string, Uint8Array> }> {
  using model = smallModel();
  const run = plan(model, smallOptions(options));
  const generator = train(run, smallData(), trainOptions);
  const events: TrainEvent[] = [];
  let result: TrainResult | null = null;
  while (events.length < stopAfter) {
    const next = await generator.next();
    if (next.done) {
      result = next.value;
      break;
    }
    events.push(next.value);
  }
  await generator.return({ steps: 0, interrupted: true, adapter: null });
  return { events, result, bits: parameterBytes(generator.adapter?.parameters ?? []) };
}

async function withFolder(use: (out: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(join(folder, "run"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function adapterBytes(out: string): Uint8Array[] {
  return ["adapter_model.safetensors", "adapter_config.json"].map((name) =>
    Deno.readFileSync(join(out, "adapter", name))
  );
}

const METHODS: readonly (readonly [Method, AdamMode])[] = [
  [sparse(SMALL_SPARSE), "lazy-exact"],
  [sparse(SMALL_SPARSE), "dense"],
  [sparse(SMALL_SPARSE), "lazy"],
  [sparse({ ...SMALL_SPARSE, scope: "union", gate: "softmax" }), "lazy-exact"],
  [parallel({ neurons: 5 }), "dense"],
  [full(), "dense"],
];

for (const [method, mode] of METHODS) {
  const { scope } = method.adapter.options;
  Deno.test(`train() resumed gives the same bytes as uninterrupted: ${method.name} ${scope ?? ""} ${mode}`, async () => {
    await withFolder(async (out) => {
      const options = { method, optimizer: adamw({ lr: 0.02, mode }), steps: 8, saveEvery: 3 };
      const whole = await runAll({ ...options, out: `${out}-whole` });
      assert.equal(whole.events.length, 8);
      // Left after step 5: the newest checkpoint is that of step 3, and two logged steps must be taken back.
      await runAll({ ...options, out }, {}, 5);
      const resumed = await runAll({ ...options, out }, { resume: true });
      assert.deepEqual(resumed.events.map(({ step }) => step), [4, 5, 6, 7, 8]);
      assertSame(resumed.bits, whole.bits);
      assertSame(adapterBytes(out), adapterBytes(`${out}-whole`));
      const log = Deno.readTextFileSync(join(out, "metrics.jsonl")).trimEnd().split("\n");
      const steps = log.map((line) => JSON.parse(line) as TrainEvent);
      assert.deepEqual(steps.map(({ step }) => step), [1, 2, 3, 4, 5, 6, 7, 8]);
      assert.deepEqual(steps.map(({ loss }) => loss), whole.events.map(({ loss }) => loss));
      const names = [...Deno.readDirSync(join(out, "checkpoints"))].map(({ name }) => name).sort();
      assert.deepEqual(names, ["step-000003", "step-000006", "step-000008"]);
    });
  });
}

for (const scope of ["token", "union"] as const) {
  for (const gate of ["raw", "softmax", "sigmoid", "none"] as const) {
    Deno.test(`train() with lazy-exact gives the bits of dense, evaluations in between: scope ${scope}, gate ${gate}`, async () => {
      const results = [];
      for (const mode of ["dense", "lazy-exact"] as const) {
        const method = sparse({ ...SMALL_SPARSE, scope, gate });
        const optimizer = adamw({ lr: 0.02, weightDecay: 0.01, mode });
        results.push(await runAll({ method, optimizer, evalEvery: 2 }, { evalData: smallData(3, 99) }));
      }
      const [dense, lazy] = results;
      assertSame(lazy?.bits, dense?.bits);
      assert.deepEqual(lazy?.events.map(({ loss }) => loss), dense?.events.map(({ loss }) => loss));
      const evaluated = dense?.events.map(({ evalLoss }) => evalLoss) ?? [];
      assert.deepEqual(evaluated.map((loss) => loss !== null), [false, true, false, true, false, true, true]);
      assert.deepEqual(lazy?.events.map(({ evalLoss }) => evalLoss), evaluated);
    });
  }
}

Deno.test("train() by epochs takes every row of each epoch once", async () => {
  using model = smallModel();
  const batch = { size: 5, micro: 2, seqLen: 12 };
  const run = plan(model, smallOptions({ steps: null, epochs: 2, batch }));
  const events: TrainEvent[] = [];
  const training = train(run, smallData());
  for await (const event of training) events.push(event);
  assert.equal(training.run.totalSteps, 6);
  assert.equal(run.totalSteps, null, "what was decided is not written to");
  assert.deepEqual(events.map(({ epoch }) => epoch), [0, 0, 0, 1, 1, 1]);
  const tokens = smallData().report.tokens;
  for (const epoch of [0, 1]) {
    const seen = events.filter((event) => event.epoch === epoch).reduce(
      (sum, event) => sum + event.tokens,
      0,
    );
    assert.equal(seen, tokens);
  }
});

Deno.test("train() with a signal finishes the step, saves it and can be resumed to the same bytes", async () => {
  await withFolder(async (out) => {
    const whole = await runAll({ out: `${out}-whole` });
    const controller = new AbortController();
    using model = smallModel();
    const generator = train(plan(model, smallOptions({ out })), smallData(), { signal: controller.signal });
    await generator.next();
    controller.abort();
    const second = await generator.next();
    assert.ok(!second.done && second.value.step === 2 || second.done);
    let result = second;
    while (!result.done) result = await generator.next();
    assert.equal(result.value.interrupted, true);
    assert.equal(result.value.adapter, null);
    assert.ok(result.value.steps >= 1 && result.value.steps < 7);
    const resumed = await runAll({ out }, { resume: true });
    assert.equal(resumed.events[0]?.step, result.value.steps + 1);
    assertSame(resumed.bits, whole.bits);
    assertSame(adapterBytes(out), adapterBytes(`${out}-whole`));
  });
});

Deno.test("train() lowers the loss, ends at its steps, and leaves the adapter on the run", async () => {
  const { events, result, bits } = await runAll({ steps: 7 });
  assert.deepEqual(result, { steps: 7, interrupted: false, adapter: null });
  assert.ok(bits.size > 0);
  const losses = events.map(({ loss }) => loss);
  assert.ok((losses.at(-1) as number) < (losses[0] as number) - 0.5, `${losses}`);
});

Deno.test("train() stops at a non-finite loss, saves the state before it, and names file and lines", async () => {
  await withFolder(async (out) => {
    using model = smallModel();
    const run = plan(model, smallOptions({ out }));
    const generator = train(run, smallData());
    await generator.next();
    const values = generator.adapter?.parameters.find(({ name }) => name.endsWith("0.mlp.meft.values"));
    assert.ok(values?.kind === "rows" && values.matrix.full);
    values.matrix.full.fill(Infinity);
    const error = await generator.next().then(() => null, (e: unknown) => e);
    assert.ok(error instanceof NonFiniteError, `${error}`);
    assert.match(error.message, /^Step 2: .* Rows of the step: small.jsonl:\d+,\d+,\d+,\d+\. Tensor /);
    assert.match(error.message, /0\.mlp\.meft\.values" of the adapter holds Infinity at \[0, 0\], /);
    const names = [...Deno.readDirSync(join(out, "checkpoints"))].map(({ name }) => name);
    assert.deepEqual(names, ["step-000001"]);
  });
});

Deno.test("train() saves the state before it stops at an evaluation that is not finite, and names the tensor", async () => {
  await withFolder(async (out) => {
    const dir = `${out}-model`;
    await Deno.mkdir(dir);
    const fixture = modelFixture("llama_linear");
    for (const { name } of Deno.readDirSync(fixture.dir)) {
      await Deno.copyFile(`${fixture.dir}/${name}`, `${dir}/${name}`);
    }
    const weights = await Deno.readFile(`${dir}/model.safetensors`);
    const { tensors } = readSafetensorsHeader(`${dir}/model.safetensors`);
    const { offsetBytes, shape } = tensors.get("model.embed_tokens.weight") as TensorEntry;
    const place = offsetBytes + 4 * (60 * (shape[1] as number) + 2); // of a token that no training row has
    new DataView(weights.buffer).setFloat32(place, NaN, true);
    await Deno.writeFile(`${dir}/model.safetensors`, weights);
    using model = openCheckpoint(dir, referenceKernels());
    const [data, evalData] = [smallData(), smallData()];
    data.ids.forEach((id, i) => data.ids[i] = id % 60);
    evalData.ids.fill(60, 0, 1);
    const run = plan(model, smallOptions({ out, steps: 2 }));
    const events = train(run, data, { evalData });
    await events.next();
    await assert.rejects(events.next(), (error: Error) => {
      assert.equal(error.name, "NotFiniteError");
      const said =
        /^The loss of small\.jsonl:1,2 is NaN\. Tensor "model\.embed_tokens\.weight" of .* holds NaN at \[60, 2\]/;
      assert.match(error.message, said);
      return true;
    });
    const names = [...Deno.readDirSync(join(out, "checkpoints"))].map(({ name }) => name);
    assert.deepEqual(names, ["step-000002"]);
  });
});

Deno.test("train() refuses a taken run folder, a resume of nothing, and rows that are too long", async () => {
  await withFolder(async (out) => {
    await runAll({ out, steps: 1 });
    const attempts: [() => Promise<unknown>, RegExp][] = [
      [
        () => runAll({ out, steps: 1 }),
        /already holds a run \(run.json, .*\): resume it \(--resume\), choose another folder \(--out\)/,
      ],
      [() => runAll({ out: `${out}-none` }, { resume: true }), /There is no run in .*-none to resume/],
      [() => runAll({}, { resume: true }), /There is nothing to resume: the run has no folder/],
      [() => runAll({ batch: { size: 2, seqLen: 4 } }), /has rows of up to \d tokens, but batch.seqLen is 4/],
    ];
    for (const [attempt, message] of attempts) {
      const error = await attempt().then(() => null, (e: unknown) => e);
      assert.ok(error instanceof UserError && message.test(error.message), `${error}`);
    }
  });
});

Deno.test("train() resumes from a checkpoint that is named, into a folder of its own", async () => {
  await withFolder(async (out) => {
    const whole = await runAll({ out, saveEvery: 2, saveTotalLimit: null });
    const checkpoint = join(out, "checkpoints", "step-000004");
    const { events, bits } = await runAll({ out: `${out}-other` }, { resume: checkpoint });
    assert.deepEqual(events.map(({ step }) => step), [5, 6, 7]);
    assertSame(bits, whole.bits);
    // Killed before it saved anything itself, it goes on from the same step.
    await runAll({ out: `${out}-third`, steps: 9 }, { resume: checkpoint }, 1);
    const third = await runAll({ out: `${out}-third`, steps: 9 }, { resume: true });
    assert.deepEqual(third.events.map(({ step }) => step), [5, 6, 7, 8, 9]);
    const { history } = JSON.parse(Deno.readTextFileSync(join(`${out}-third`, "run.json")));
    assert.deepEqual(history, [{
      step: 4,
      changed: { steps: [7, 9], saveEvery: [2, null], saveTotalLimit: [null, 3], totalSteps: [7, 9] },
    }]);
    assertSame(adapterBytes(`${out}-other`), adapterBytes(out));
  });
});

Deno.test("train() resumed from an earlier checkpoint of its folder sets the later ones aside, and goes on from there", async () => {
  await withFolder(async (out) => {
    const options = { out, saveEvery: 2, saveTotalLimit: 1 };
    await runAll({ ...options, saveTotalLimit: null });
    const place = join(out, "checkpoints");
    const warnings: string[] = [];
    const resume = join(place, "step-000002");
    await runAll(options, { resume, onWarning: (text) => void warnings.push(text) }, 3);
    assert.deepEqual(warnings, [
      `checkpoints after step 2, where the run goes on, were set aside in ${place}/set-aside-1: ` +
      "step-000004, step-000006, step-000007",
    ]);
    const names = () => [...Deno.readDirSync(place)].map(({ name }) => name).sort();
    assert.deepEqual(names(), ["set-aside-1", "step-000004"]);
    const { events } = await runAll(options, { resume: true });
    assert.deepEqual(events.map(({ step }) => step), [5, 6, 7]);
    assert.deepEqual(names(), ["set-aside-1", "step-000007"]);
  });
});

Deno.test("train() refuses to start anew, or from elsewhere, over what a run left without its run.json", async () => {
  await withFolder(async (out) => {
    await runAll({ out, steps: 2, saveEvery: 1 });
    await Deno.remove(join(out, "run.json"));
    const elsewhere = join(`${out}-other`, "checkpoints", "step-000001");
    await runAll({ out: `${out}-other`, steps: 2, saveEvery: 1 });
    const refused = async (way: RegExp) => {
      for (const resume of [false, elsewhere]) {
        await assert.rejects(runAll({ out, steps: 2 }, { resume }), way);
      }
    };
    await refused(
      /already holds a run \(metrics.jsonl, checkpoints.step-000002, .*\): resume it \(--resume\), choose/,
    );
    await Deno.rename(join(out, "checkpoints"), `${out}-kept`);
    await refused(
      /already holds a run \(metrics.jsonl, adapter.*\): choose another folder \(--out\), or remove/,
    );
    await Deno.remove(join(out, "metrics.jsonl"));
    await refused(/already holds a run \(adapter.*\): choose/);
    await Deno.remove(join(out, "adapter"), { recursive: true });
    await runAll({ out, steps: 2 });
  });
});

Deno.test("train() resumes from checkpoints whose run.json is lost", async () => {
  await withFolder(async (out) => {
    const whole = await runAll({ out: `${out}-whole` });
    await runAll({ out, saveEvery: 2 }, {}, 5);
    await Deno.remove(join(out, "run.json"));
    assertSame((await runAll({ out, saveEvery: 2 }, { resume: true })).bits, whole.bits);
  });
});

Deno.test("train() resumed before its first checkpoint starts again from the beginning", async () => {
  await withFolder(async (out) => {
    await runAll({ out, steps: 3 }, {}, 1);
    const { events } = await runAll({ out, steps: 3 }, { resume: true });
    assert.deepEqual(events.map(({ step }) => step), [1, 2, 3]);
  });
});

Deno.test("train() keeps the ledger flat once it has seen all its data", async () => {
  const { events } = await runAll({ steps: 80, epochs: 1 });
  const held = events.slice(40).map(({ heldBytes }) => heldBytes);
  assert.equal(held.length, 40);
  assert.deepEqual([...new Set(held)], [held[0]]);
});

Deno.test("train() reads expert load and memory now and then, counts silent neurons, and logs what it yields", async () => {
  await withFolder(async (out) => {
    const options = { evalData: smallData(3, 99), wallClock: () => 1_700_000_000_500 };
    const { events } = await runAll({ out, steps: 41, evalEvery: 10 }, options);
    const log = Deno.readTextFileSync(join(out, "metrics.jsonl")).trimEnd().split("\n").map((line) =>
      JSON.parse(line)
    );
    events.forEach((event, i) => {
      const { checkpoint: _, ...seen } = event;
      const known = Object.entries(seen).filter(([, value]) => value !== null);
      assert.deepEqual(log[i], { ...Object.fromEntries(known), time: 1_700_000_000.5 });
    });
    // Every third step is a twentieth of the run, every tenth is evaluated.
    const reads = events.filter(({ expertLoad }) => expertLoad !== null);
    assert.deepEqual(
      reads.map(({ step }) => step),
      [1, 3, 6, 9, 10, 12, 15, 18, 20, 21, 24, 27, 30, 33, 36, 39, 40, 41],
    );
    assert.deepEqual(
      events.map(({ peakBytes }) => peakBytes !== null),
      events.map(({ expertLoad }) => expertLoad !== null),
    );
    let from = 0;
    for (const { step, expertLoad } of reads) {
      const tokens = events.slice(from, step).reduce((sum, event) => sum + event.tokens, 0);
      for (const layer of expertLoad ?? []) {
        assert.equal(layer.length, SMALL_SPARSE.experts);
        assert.equal(
          layer.reduce((a, b) => a + b),
          tokens * SMALL_SPARSE.activeExperts,
          `up to step ${step}`,
        );
      }
      from = step;
    }
    const [first, last] = [events[0], events.at(-1)] as [TrainEvent, TrainEvent];
    assert.equal(first.deadNeurons, SMALL_SPARSE.neurons - first.activeNeurons);
    assert.ok((last.deadNeurons as number) < (first.deadNeurons as number));
    assert.ok((last.peakBytes?.parameters as number) > 0);
  });
  const { events } = await runAll({ method: parallel({ neurons: 5 }), steps: 2 });
  assert.deepEqual(events.map(({ deadNeurons, expertLoad }) => [deadNeurons, expertLoad]), [[null, null], [
    null,
    null,
  ]]);
});

Deno.test("evaluateState() is the mean loss over all targets, whatever the micro-batch", async () => {
  using model = smallModel();
  const means = [];
  for (const micro of [1, 3, 12]) {
    const run = plan(model, smallOptions({ batch: { size: 12, micro, seqLen: 12 } }));
    const { loss, targets } = await evaluateState(run, init(run), smallData());
    assert.equal(targets, smallData().report.targets);
    means.push(loss);
  }
  const [first] = means;
  assert.ok(means.every((mean) => Math.abs(mean - (first as number)) < 1e-12), `${means}`);
});

Deno.test("train() gives timers a turn between steps, so that a notebook hears its stop button", async () => {
  using model = smallModel();
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 0);
  const steps = train(plan(model, smallOptions()), smallData(), { signal: controller.signal });
  let taken = 0;
  for await (const _ of steps) taken++;
  assert.ok(taken < 7, `${taken} steps were taken`);
});
