// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { ValidationError } from "../../../lib/core/errors.ts";
import { METHOD_NAMES, methodByName, parallel, sparse } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { exampleLength } from "../../../lib/data/dataset.ts";
import { plannedBatches } from "../../../lib/predict/batch_sizes.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Model } from "../../../lib/models/model.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

Deno.test("plan() lists the mistakes of adapter, optimizer and run together, and allocates nothing", () => {
  using model = smallModel();
  const held = new Map(model.kernels.ledger.held);
  const options = {
    method: sparse({ neurons: 100, experts: 7, activeExperts: 9 }),
    optimizer: adamw({ lr: -1, beta2: 2 }),
    batch: { size: 4, micro: 8, seqLen: 1000 },
    steps: 0,
    seed: 2 ** 32,
    saveEvery: 1.5,
    activations: "forget",
  } as unknown as RunOptions;
  try {
    plan(model, options);
    assert.fail("the options are wrong");
  } catch (error) {
    assert.ok(error instanceof ValidationError, `${error}`);
    assert.deepEqual(
      error.problems.map((problem) => problem.split(" ")[0]),
      [
        "experts",
        "activeExperts",
        "lr",
        "beta2",
        "steps",
        "activations",
        "seed",
        "saveEvery",
        "batch.micro",
        "batch.seqLen",
      ].filter((name) => name !== "topK"),
    );
  }
  assert.deepEqual(model.kernels.ledger.held, held);
});

Deno.test("plan() without options is the published run", () => {
  using model = smallModel();
  const { settings, adapterKind, optimizer } = plan(model, { batch: { seqLen: 64 } });
  assert.deepEqual(settings, {
    batch: { size: 64, micro: 4, seqLen: 64, packing: false },
    steps: null,
    epochs: 4,
    format: null,
    seed: 42,
    activations: "store",
    out: null,
    saveEvery: null,
    saveTotalLimit: 3,
    evalEvery: null,
  });
  assert.equal(adapterKind.config["neurons"], 4096);
  assert.equal(adapterKind.config["initStd"], model.config.initializerRange);
  assert.deepEqual([optimizer.lr, optimizer.clip], [1e-4, 1]);
});

Deno.test("plan() takes the learning rate of the method unless another is given", () => {
  using model = smallModel();
  const lr = (options: RunOptions) => plan(model, smallOptions(options)).optimizer.lr;
  assert.equal(lr({ method: methodByName("full"), optimizer: adamw() }), 1e-5);
  assert.equal(lr({ method: methodByName("full"), optimizer: adamw({ lr: 0.3 }) }), 0.3);
  assert.equal(lr({ method: parallel({ neurons: 2 }), optimizer: adamw() }), 1e-4);
});

Deno.test("predictMemory() counts three floats a parameter and four bytes a row that last", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions({ method: sparse({ neurons: 48, experts: 12, topK: 4 }) }));
  const memory = await predictMemory(run);
  const [layers, hidden] = [2, 24];
  assert.equal(memory.adapterParameters, layers * hidden * (48 + 48 + 12));
  assert.equal(memory.trainedParameters, memory.adapterParameters);
  const persistent = (memory.bytes.parameters ?? 0) + (memory.bytes.optimizer ?? 0);
  assert.equal(persistent, 3 * 8 * memory.adapterParameters + 4 * layers * 2 * 48, "floats of the reference");
});

Deno.test("methodByName() knows every method and suggests the nearest name", () => {
  for (const name of METHOD_NAMES) assert.equal(methodByName(name).name, name);
  assert.throws(() => methodByName("sparce"), /There is no method "sparce"; did you mean "sparse"\?/);
  assert.throws(() => methodByName("toString"), /There is no method "toString"/);
});

Deno.test("predictMemory() says what rows take after the first step and at most; what every step touches does not grow", async () => {
  using model = smallModel();
  const memoryOf = (options: RunOptions) => predictMemory(plan(model, smallOptions(options)));
  const many = { neurons: 9600, experts: 96, activeExperts: 2, topK: 3 };
  const sparsely = await memoryOf({ method: sparse(many) });
  for (const name of ["parameters", "optimizer", "gradients"] as const) {
    const [start, most] = [sparsely.startBytes[name] ?? 0, sparsely.bytes[name] ?? 0];
    assert.ok(start > 0 && start < most, name);
    assert.ok((sparsely.residentBytes[name] ?? 0) >= start, name);
  }
  assert.equal(sparsely.startBytes.activations, sparsely.bytes.activations);
  const densely = await memoryOf({ method: sparse(many), optimizer: adamw({ mode: "dense" }) });
  assert.equal(densely.startBytes.optimizer, densely.bytes.optimizer);
  const whole = await memoryOf({ method: parallel({ neurons: 16 }) });
  assert.deepEqual(whole.startBytes, whole.bytes);
});

Deno.test("plannedBatches() sees a long row wherever the order puts it", () => {
  using model = smallModel();
  const run = plan(model, smallOptions({ batch: { size: 1, micro: 1, seqLen: 12 }, steps: 2000 }));
  const short = smallData(2000); // of 9 tokens at most
  for (const example of [0, 700, 1999]) {
    const more = 12 - exampleLength(short, example);
    const offsets = short.offsets.map((offset, i) => i <= example ? offset : offset + more);
    const tokens = offsets.at(-1) as number;
    const ids = new Int32Array(tokens);
    const data = { ...short, offsets, ids, lossMask: new Uint8Array(tokens).fill(1) };
    const { first, longest } = plannedBatches(run, data);
    assert.deepEqual([first.tokens, longest], [12, 12], `example ${example}`);
  }
});

Deno.test("plan() takes every setting at its limit, and refuses the next beyond it by name", () => {
  using model = smallModel();
  const batch = { size: 4, micro: 2, seqLen: 12 };
  const most = model.config.maxPositionEmbeddings;
  const taken: RunOptions[] = [
    { batch: { size: 1, micro: 1, seqLen: 2 } },
    { batch: { ...batch, micro: 4 } },
    { batch: { ...batch, seqLen: most } },
    { steps: 1, epochs: 1, saveEvery: 1, saveTotalLimit: 1, evalEvery: 1 },
    { seed: 0 },
    { seed: 2 ** 32 - 1 },
  ];
  for (const options of taken) plan(model, smallOptions(options));
  const refused: readonly (readonly [RunOptions, string])[] = [
    [{ batch: { ...batch, size: 0, micro: 0 } }, "batch.size is 0, expected a whole number of at least 1"],
    [{ batch: { ...batch, micro: 0 } }, "batch.micro is 0, expected a whole number of at least 1"],
    [{ batch: { ...batch, micro: 5 } }, "batch.micro is 5, more than batch.size = 4: use at most 4"],
    [{ batch: { ...batch, seqLen: 1 } }, "batch.seqLen is 1, expected a whole number of at least 2"],
    [
      { batch: { ...batch, seqLen: most + 1 } },
      `batch.seqLen is ${most + 1}, but the model knows ${most} positions: use at most that`,
    ],
    ...(["steps", "epochs", "saveEvery", "saveTotalLimit", "evalEvery"] as const).flatMap((name) =>
      [0, 1.5, NaN].map((value) =>
        [{ [name]: value }, `${name} is ${value}, expected a whole number of at least 1`] as const
      )
    ),
    [{ seed: -1 }, "seed is -1, expected a whole number from 0 to 4294967295"],
    [{ seed: 2 ** 32 }, "seed is 4294967296, expected a whole number from 0 to 4294967295"],
    [{ activations: "all" as "store" }, 'activations is "all", expected store, recompute, reversible'],
  ];
  for (const [options, problem] of refused) {
    assert.throws(() => plan(model, smallOptions(options)), (error) => {
      assert.ok(error instanceof ValidationError && error.problems.includes(problem), `${problem}: ${error}`);
      return true;
    });
  }
});

Deno.test("plan() takes what is asked for before the method's, and the method's before the published", () => {
  using model = smallModel();
  const method = {
    ...sparse({ neurons: 48, experts: 12 }),
    activations: "recompute",
    optimizer: { lr: 0.5 },
  } as const;
  const of = (options: RunOptions) =>
    plan(model, { ...smallOptions({ method }), optimizer: adamw(), ...options });
  assert.deepEqual([of({}).settings.activations, of({}).optimizer.lr], ["recompute", 0.5]);
  const asked = of({ activations: "store", optimizer: adamw({ lr: 0.25 }) });
  assert.deepEqual([asked.settings.activations, asked.optimizer.lr], ["store", 0.25]);
  const small = plan(model, { method, batch: { size: 3, seqLen: 12 } });
  assert.deepEqual(small.settings.batch, { size: 3, micro: 3, seqLen: 12, packing: false });
  assert.equal(plan(model, { method, batch: { size: 9, seqLen: 12 } }).settings.batch.micro, 4);
  const steps = of({ steps: 5, epochs: 2 });
  assert.deepEqual([steps.totalSteps, of({ steps: null, epochs: 2 }).totalSteps], [5, null]);
});

Deno.test("plan() takes the larger rate where a head is learnt beside the method, and what is chosen in any case", () => {
  using labels = openCheckpoint(checkpointFixture("heads/llama_labels").dir, referenceKernels());
  using words = smallModel();
  const rate = (model: Model, method: string, lr?: number) =>
    plan(model, {
      method: methodByName(method),
      optimizer: adamw(lr === undefined ? {} : { lr }),
      batch: { seqLen: 32 },
    }).optimizer
      .lr;
  const names = ["sparse", "parallel", "lora", "full"];
  assert.deepEqual(names.map((name) => rate(labels, name)), [3e-4, 1e-3, 1e-3, 1e-4]);
  assert.deepEqual(names.map((name) => rate(words, name)), [1e-4, 1e-4, 1e-4, 1e-5]);
  assert.equal(rate(labels, "lora", 0.25), 0.25);
});
