// SPDX-License-Identifier: Apache-2.0
/** What is foretold of a run: work, time, memory of a GPU and of the host beside it; by hand, for one small model. */
import assert from "node:assert/strict";
import type { AdapterSpec } from "../../../lib/adapters/registry.ts";
import { full, lora, type Method, parallel } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { besideDevice } from "../../../lib/train/beside_device.ts";
import { estimateStep } from "../../../lib/train/calibration.ts";
import { predictDevice } from "../../../lib/train/device_memory.ts";
import {
  type BatchSizes,
  fullBatches,
  type MemoryPrediction,
  predictMemory,
  processPeakBytes,
} from "../../../lib/train/memory.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { fullLoad } from "../../../lib/train/step_load.ts";
import { stepWork, totalOperations } from "../../../lib/train/work.ts";
import { assertWithin } from "../../compare.ts";
import { smallModel, smallOptions } from "./small_run.ts";

// Of the model: hidden 24, inner 37, 4 heads and 2 of keys of 10 columns, 2 layers, 61 tokens.
// Of the adapter: 48 neurons, 12 experts of which 2 are active, 3 neurons a token.
const LAYER = 2 * 24 * 40 + 2 * 24 * 20 + 3 * 24 * 37;
const MODEL = 61 * 24 + 2 * (LAYER + 2 * 24) + 24;
const LOAD = { tokens: 100, targets: 80, pairs: 700 };

const runOf = (model: ReturnType<typeof smallModel>, options: RunOptions = {}): Run =>
  plan(model, smallOptions(options));
/** A of 3 by 24 and B of 40 by 3, in each layer. */
const queries = lora({ rank: 3, targets: ["q"] });

Deno.test("stepWork() counts two operations a multiplication and addition: forward, back, attention, adapter", () => {
  using model = smallModel();
  const [layers, head, attention] = [2 * 100 * 2 * LAYER, 2 * 80 * 24 * 61, 2 * 2 * 4 * 10 * 700 * 2];
  const sparseForward = 2 * 24 * (12 + 2 * 48 / 12 + 3);
  const sparseBackward = 2 * 24 * (4 * 3 + 2 * 2);
  const touched = Math.ceil(48 * (1 - Math.exp(-100 * 3 / 48))) / 48;
  const lazy = 2 * (12 * 24 + 2 * 48 * 24 * touched);
  const cases: readonly (readonly [
    RunOptions,
    { forwards: number; weights: number; adapter: number; moved: number },
  ])[] = [
    [{}, { forwards: 1, weights: 1, adapter: sparseForward + sparseBackward, moved: lazy }],
    [{ activations: "recompute", optimizer: adamw({ mode: "dense" }) }, {
      ...{ forwards: 2, weights: 1, adapter: 2 * sparseForward + sparseBackward },
      moved: 2 * (12 + 48 + 48) * 24,
    }],
    [{ method: parallel({ neurons: 5 }) }, {
      forwards: 1,
      weights: 1,
      adapter: 12 * 24 * 5,
      moved: 2 * 2 * 5 * 24,
    }],
    [{ method: queries }, { forwards: 1, weights: 1, adapter: 4 * 2 * 192, moved: 2 * 192 }],
    [{ method: queries, activations: "recompute" }, {
      forwards: 2,
      weights: 1,
      adapter: 5 * 2 * 192,
      moved: 2 * 192,
    }],
    [{ method: full() }, { forwards: 1, weights: 2, adapter: 0, moved: MODEL }],
  ];
  for (const [options, { forwards, weights, adapter, moved }] of cases) {
    const work = stepWork(runOf(model, options), LOAD);
    const title = options.method?.name ?? "sparse";
    assert.equal(work.linearForward, forwards * layers + head, title);
    assert.equal(work.linearBackward, weights * (layers + head), title);
    assert.equal(work.attention, (forwards + 2.5) * attention, title);
    assert.equal(work.adapter, 2 * 100 * adapter, title);
    const columns = forwards * (14 * 24 + 4 * 37) + 20 * 24 + 8 * 37;
    assert.equal(work.streamBytes, 4 * 100 * 2 * columns, title);
    assertWithin(title, [work.updateBytes], [32 * moved], 1e-6);
    const { linearForward, linearBackward } = work;
    assert.equal(totalOperations(work), linearForward + linearBackward + work.attention + work.adapter);
  }
  assert.deepEqual(fullLoad(5, 12), { tokens: 60, targets: 55, pairs: 5 * 78 });
});

Deno.test("estimateStep() takes each part at its own rate, one after the other", () => {
  using model = smallModel();
  const run = runOf(model);
  const work = stepWork(run, LOAD);
  const rates = {
    linearForward: 1e6,
    linearBackward: 2e6,
    attention: 5e5,
    sparse: 2.5e5,
    bandwidth: 4e6,
    calibrationMs: 0,
  };
  const { products, attention, adapter, streams, update, stepMs, tokensPerSecond } = estimateStep(
    run,
    LOAD,
    rates,
  );
  assertWithin("products", [products], [work.linearForward / 1e3 + work.linearBackward / 2e3], 1e-9);
  assertWithin("attention", [attention], [work.attention / 500], 1e-9);
  assertWithin("adapter", [adapter], [work.adapter / 250], 1e-9);
  assertWithin("streams", [streams], [work.streamBytes / 4e3], 1e-9);
  assertWithin("update", [update], [work.updateBytes / 4e3], 1e-9);
  assertWithin("step", [stepMs], [products + attention + adapter + streams + update], 1e-9);
  assertWithin("tokens", [tokensPerSecond], [100 / (stepMs / 1000)], 1e-9);
  const dense = estimateStep(run, LOAD, { ...rates, sparse: null });
  assertWithin("adapter as products", [dense.adapter], [work.adapter / 1e3], 1e-9);
});

Deno.test("predictDevice() foretells a GPU for rows on the host and on the device, and for what lives there whole", () => {
  using model = smallModel();
  const run = runOf(model); // 24 tokens a micro-batch, two a step
  const host = predictDevice(run, "host");
  const device = predictDevice(run, "device");
  const [rows, logits] = [Math.ceil(48 * (1 - Math.exp(-24 * 3 / 48))), 22 * 61 * 4];
  for (const { device: classes, deviceTotal } of [host, device]) {
    assert.equal(classes.weights, 2 * MODEL);
    assert.equal(classes["loss chunk"], logits);
    assert.equal(classes.workspace, 70e6 + 2 * (logits / 4));
    assert.equal(classes.context, 600e6);
    assert.equal(classes.activations, host.device.activations);
    assert.equal(deviceTotal, Object.values(classes).reduce((a, b) => a + b));
  }
  assert.deepEqual([host.placement, device.placement], ["host", "device"]);
  assert.equal(host.device.adapter, 0);
  assert.equal(device.device.adapter, 2 * rows * 2 * 24 * 2 + rows * 2 * 24 * 4);
  assert.equal(host.pinned, 4 * 24 * (8 * 12 + 2 * 24));
  assert.equal(device.pinned, 4 * 2 * rows * 24);
  const { parameters, optimizer, gradients } = run.memory.bytes;
  for (const prediction of [host, device]) {
    assert.deepEqual(prediction.host, { parameters, optimizer, gradients });
  }
  const activations = 2 * 2 * (2 * 4 * 24 * 24);
  assert.deepEqual(host.pcie, { up: activations, down: activations });
  assert.deepEqual(device.pcie, { up: 2 * 2 * (2 * 2 * rows * 24), down: 2 * 2 * (2 * 4 * rows * 24) });
  const whole = predictDevice(runOf(model, { method: queries }), "host");
  assert.equal(whole.device.adapter, 16 * 384);
  assert.deepEqual([whole.pinned, whole.pcie], [0, { up: 0, down: 0 }]);
  assert.deepEqual(whole.host, { parameters: 0, optimizer: 0, gradients: 0 });
});

/** Sizes of micro-batches of which the first or the later ones are the largest. */
function sizesOf(run: Run, sizes: Partial<BatchSizes>): BatchSizes {
  return { ...fullBatches(run.settings), ...sizes };
}

Deno.test("predictDevice() goes by the largest micro-batch, and by the mean step for what travels token by token", () => {
  using model = smallModel();
  const run = runOf(model);
  const [large, small] = [{ tokens: 40, targets: 30 }, { tokens: 20, targets: 10 }];
  const meanStep = { tokens: 50, targets: 40, pairs: 300 };
  for (const [first, later] of [[large, small], [small, large]] as const) {
    const { pinned, pcie } = predictDevice(run, "host", sizesOf(run, { first, later, meanStep }));
    assert.equal(pinned, 4 * 24 * (8 * 20 + 2 * 40));
    assert.equal(pcie.up, 2 * 2 * (2 * 4 * 25 * 24));
    const rows = Math.ceil(48 * (1 - Math.exp(-40 * 3 / 48)));
    assert.equal(predictDevice(run, "device", sizesOf(run, { first, later })).pinned, 4 * 2 * rows * 24);
    const whole = runOf(model, { method: queries });
    const sizes = sizesOf(whole, { first, later });
    const { device } = predictDevice(whole, "device", sizes);
    const { adapterKind, optimizer, settings } = whole;
    const onHost = predictMemory(model, adapterKind, optimizer, settings, sizes).bytes.activations as number;
    // The logits stand in the arena with all else; those of the first micro-batch are told apart.
    assert.equal(device.activations + device["loss chunk"], onHost);
    assert.equal(device["loss chunk"], first.targets * 61 * 4);
  }
});

Deno.test("besideDevice() leaves the host its rows and pinned memory, and of what the device has nothing", () => {
  using model = smallModel();
  const run = runOf(model);
  const { memory } = run;
  const beside = besideDevice(memory, predictDevice(run, "host"));
  const pinned = predictDevice(run, "host").pinned;
  const rows = (bytes: MemoryPrediction["bytes"]) => {
    const { parameters, optimizer, gradients } = bytes;
    return { weights: 0, pinned, parameters, optimizer, gradients };
  };
  assert.deepEqual(beside.bytes, rows(memory.bytes));
  assert.deepEqual(beside.residentBytes, rows(memory.residentBytes));
  assert.deepEqual(beside.startBytes, rows(memory.startBytes));
  const sum = Object.values(rows(memory.bytes)).reduce((total: number, bytes) => total + (bytes ?? 0), 0);
  assert.deepEqual([beside.totalBytes, beside.logitsBytes], [sum, 0]);
  const whole = runOf(model, { method: queries });
  const none = { weights: 0, pinned: 0, parameters: 0, optimizer: 0, gradients: 0 };
  assert.deepEqual(besideDevice(whole.memory, predictDevice(whole, "host")).bytes, none);
});

Deno.test("predictMemory() says what rows take that tokens reach, after a step and in the whole run", () => {
  using model = smallModel();
  const run = runOf(model);
  const batches = sizesOf(run, { stepTokens: 10, runTokens: 30 });
  const { bytes, residentBytes, startBytes } = predictMemory(
    model,
    run.adapterKind,
    run.optimizer,
    run.settings,
    batches,
  );
  const reached = (tokens: number) => Math.ceil(48 * (1 - Math.exp(-tokens * 3 / 48))) / 48;
  const [router, allRows] = [12, 96];
  for (const [found, tokens] of [[residentBytes, 30], [startBytes, 10]] as const) {
    const start = (router + 48) / (router + allRows);
    const parameters = bytes.parameters! * (start + (1 - start) * reached(tokens));
    assertWithin("parameters", [found.parameters!], [parameters], 1e-6);
    assertWithin("optimizer", [found.optimizer!], [bytes.optimizer! * reached(tokens)], 1e-6);
    assertWithin("gradients", [found.gradients!], [bytes.gradients! * reached(10)], 1e-6);
    assert.equal(found.activations, bytes.activations);
  }
  const short = predictMemory(model, run.adapterKind, run.optimizer, run.settings, {
    ...batches,
    runTokens: 4,
  });
  assert.deepEqual(short.startBytes, short.residentBytes, "a run of less than a step");
  const whole = runOf(model, { method: full() }).memory;
  assert.deepEqual(whole.residentBytes, { ...whole.bytes, weights: 0 }, "weights are read once");
});

Deno.test("plan() counts parameters and their bytes, and processPeakBytes() adds what was resident before", () => {
  using model = smallModel();
  const counts = (method: Method) => {
    const { memory } = runOf(model, { method });
    const { adapterParameters, trainedParameters, modelParameters, adapterShare, bytes, totalBytes } = memory;
    assert.equal(modelParameters, MODEL);
    assert.equal(adapterShare, adapterParameters / MODEL);
    assert.equal(totalBytes, Object.values(bytes).reduce((a, b) => a + b));
    assert.equal(memory.bytesPerTrainedParameter, (bytes.parameters! + bytes.optimizer!) / trainedParameters);
    return [adapterParameters, trainedParameters];
  };
  const spec = (options: object): AdapterSpec => ({
    kind: "sparse",
    options: { ...sparseSizes, ...options },
  });
  const sparseSizes = { neurons: 48, experts: 12, activeExperts: 2, topK: 3 };
  const method = (options: object): Method => ({ ...full(), name: "sparse", adapter: spec(options) });
  assert.deepEqual(counts(method({})), [2 * 24 * 108, 2 * 24 * 108]);
  assert.deepEqual(counts(method({ keys: "frozen" })), [2 * 24 * 108, 2 * 24 * 60]);
  assert.deepEqual(counts(queries), [384, 384]);
  const { memory } = runOf(model);
  assert.equal(memory.logitsBytes, 22 * 61 * 4);
  const resident = Object.values(memory.residentBytes).reduce((a, b) => a + b);
  assert.equal(processPeakBytes(memory, 1000), 1000 + resident + 6 * 2 ** 20);
});

Deno.test("fullBatches() are rows of full length: of a step, of a micro-batch, and one micro-batch where that is all", () => {
  const batch = { size: 5, micro: 2, seqLen: 12 };
  assert.deepEqual(fullBatches({ batch, activations: "store" }), {
    first: { tokens: 24, targets: 22 },
    later: { tokens: 24, targets: 22 },
    evaluation: null,
    longest: 12,
    stepTokens: 60,
    runTokens: Infinity,
    meanStep: { tokens: 60, targets: 55, pairs: 390 },
  });
  const { first, later } = fullBatches({ batch: { ...batch, size: 2, micro: 4 }, activations: "store" });
  assert.deepEqual([first, later], [{ tokens: 24, targets: 22 }, null]);
  assert.equal(fullBatches({ batch: { ...batch, size: 2 }, activations: "store" }).later, null);
});
