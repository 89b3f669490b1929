// SPDX-License-Identifier: Apache-2.0
/** What is predicted of a run: work, time, memory of a GPU and of the host beside it; by hand, for one small model. */
import assert from "node:assert/strict";
import type { AdapterSpec } from "../../../lib/adapters/registry.ts";
import { full, lora, type Method, parallel } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { besideDevice } from "../../../lib/predict/beside_device.ts";
import { estimateStep } from "../../../lib/predict/time.ts";
import { predictDevice } from "../../../lib/predict/device_memory.ts";
import { type BatchSizes, fullBatches, fullLoad } from "../../../lib/predict/batch_sizes.ts";
import { type MemoryPrediction, predictMemory, processPeakBytes } from "../../../lib/predict/memory.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { stepWork, totalOperations } from "../../../lib/predict/work.ts";
import { assertWithin } from "../../compare.ts";
import { smallModel, smallOptions } from "../train/small_run.ts";

// Of the model: hidden 24, inner 37, 4 heads and 2 of keys of 10 columns, 2 layers, 61 tokens.
// Of the adapter: 48 neurons, 12 experts of which 2 are active, 3 neurons a token.
const LAYER = 2 * 24 * 40 + 2 * 24 * 20 + 3 * 24 * 37;
const MODEL = 61 * 24 + 2 * (LAYER + 2 * 24) + 24;
const LOAD = { tokens: 100, targets: 80, pairs: 700 };

const runOf = (model: ReturnType<typeof smallModel>, options: RunOptions = {}): Run =>
  plan(model, smallOptions(options));
/** A of 3 by 24 and B of 40 by 3, in each layer. */
const queries = lora({ rank: 3, targets: ["q"] });

Deno.test("stepWork() counts two operations a multiplication and addition: forward, back, attention, adapter", async () => {
  using model = smallModel();
  const [layer, ffn, down] = [2 * 100 * LAYER, 2 * 100 * 3 * 24 * 37, 2 * 100 * 24 * 37];
  const [head, attention] = [2 * 80 * 24 * 61, 4 * 4 * 10 * 700];
  // What makes activations again leaves out the last product of a layer.
  const again = 2 * (layer - down);
  const sparse = 2 * 24 * (12 + 2 * 48 / 12 + 3 + 4 * 3 + 2 * 2);
  const touched = Math.ceil(48 * (1 - Math.exp(-100 * 3 / 48))) / 48;
  const lazy = 2 * (12 * 24 + 2 * 48 * 24 * touched);
  // Backward goes through the upper layer; in the lower one no further than to what is trained.
  const ofQueries = layer + ffn + 2 * 100 * 24 * 40;
  // u = x A and y += u B; u again, the gradients of both, of u, and above the lowest layer of x.
  const lowRank = 2 * 2 * 192 + 2 * 2 * 2 * 192 + 2 * 24 * 3;
  const cases: readonly (readonly [
    RunOptions,
    { forward: number; backward: number; attention: number; adapter: number; moved: number },
  ])[] = [
    [{}, { forward: 2 * layer, backward: layer, attention: 4.5, adapter: 2 * sparse, moved: lazy }],
    [{ activations: "recompute", optimizer: adamw({ mode: "dense" }) }, {
      ...{ forward: 2 * layer + again, backward: layer, attention: 6.5 },
      adapter: 2 * sparse, // what fired is kept
      moved: 2 * (12 + 48 + 48) * 24,
    }],
    [{ method: parallel({ neurons: 5 }) }, {
      ...{ forward: 2 * layer, backward: layer, attention: 4.5 },
      adapter: 2 * 14 * 24 * 5, // z is made again
      moved: 2 * 2 * 5 * 24,
    }],
    [{ method: queries }, {
      ...{ forward: 2 * layer, backward: ofQueries, attention: 7 },
      adapter: lowRank,
      moved: 2 * 192,
    }],
    [{ method: queries, activations: "recompute" }, {
      ...{ forward: 2 * layer + again, backward: ofQueries, attention: 9 },
      adapter: lowRank + 2 * 2 * 192,
      moved: 2 * 192,
    }],
    [{ method: full() }, {
      ...{ forward: 2 * layer, backward: 2 * 2 * layer + head, attention: 7 },
      adapter: 0,
      moved: MODEL,
    }],
  ];
  for (const [options, expected] of cases) {
    const run = runOf(model, options);
    const work = await stepWork(run, LOAD);
    const title = JSON.stringify(options.method?.name ?? "sparse");
    const near = (name: string, found: number, wanted: number) =>
      assertWithin(`${title} ${name}`, [found], [wanted], 1e-6 * wanted);
    near("forward", work.linearForward, expected.forward + head);
    near("backward", work.linearBackward, expected.backward + head);
    near("attention", work.attention, expected.attention * attention);
    near("adapter", work.adapter, 100 * expected.adapter);
    near("update", work.updateBytes, 32 * expected.moved);
    const twice = await stepWork(run, { tokens: 200, targets: 160, pairs: 1400 });
    near("streams", twice.streamBytes, 2 * work.streamBytes);
    const { linearForward, linearBackward } = work;
    assert.equal(totalOperations(work), linearForward + linearBackward + work.attention + work.adapter);
  }
  assert.deepEqual(fullLoad(5, 12), { tokens: 60, targets: 55, pairs: 5 * 78 });
});

Deno.test("estimateStep() takes each part at its own rate, one after the other", async () => {
  using model = smallModel();
  const work = await stepWork(runOf(model), LOAD);
  const rates = {
    linearForward: 1e6,
    linearBackward: 2e6,
    attention: 5e5,
    sparse: 2.5e5,
    bandwidth: 4e6,
    calibrationMs: 0,
  };
  const { products, attention, adapter, streams, update, stepMs, tokensPerSecond } = estimateStep(
    work,
    100,
    rates,
  );
  assertWithin("products", [products], [work.linearForward / 1e3 + work.linearBackward / 2e3], 1e-9);
  assertWithin("attention", [attention], [work.attention / 500], 1e-9);
  assertWithin("adapter", [adapter], [work.adapter / 250], 1e-9);
  assertWithin("streams", [streams], [work.streamBytes / 4e3], 1e-9);
  assertWithin("update", [update], [work.updateBytes / 4e3], 1e-9);
  assertWithin("step", [stepMs], [products + attention + adapter + streams + update], 1e-9);
  assertWithin("tokens", [tokensPerSecond], [100 / (stepMs / 1000)], 1e-9);
  const dense = estimateStep(work, 100, { ...rates, sparse: null });
  assertWithin("adapter as products", [dense.adapter], [work.adapter / 1e3], 1e-9);
});

Deno.test("predictDevice() predicts a GPU for rows on the host and on the device, and for what lives there whole", async () => {
  using model = smallModel();
  const run = runOf(model); // 24 tokens a micro-batch, two a step
  const host = await predictDevice(run, "host");
  const device = await predictDevice(run, "device");
  const logits = 22 * 61 * 4;
  // Of 48 rows those that both micro-batches reach, were choices spread evenly.
  const rows = Math.ceil(48 * (1 - Math.exp(-2 * 24 * 3 / 48)));
  for (const { device: classes, deviceTotal } of [host, device]) {
    assert.equal(classes.weights, 2 * MODEL);
    assert.equal(classes["loss chunk"], logits);
    assert.equal(classes.workspace, 70e6 + 2 * (logits / 4));
    assert.equal(classes.context, 600e6);
    assert.ok(classes.activations >= host.device.activations); // the pairs as dense matrices
    assert.equal(deviceTotal, Object.values(classes).reduce((a, b) => a + b));
  }
  assert.deepEqual([host.placement, device.placement], ["host", "device"]);
  assert.equal(host.device.adapter, 0);
  // In each layer keys and values of all rows as products read them, their gradients, and the router with its gradient.
  assert.equal(device.device.adapter, 2 * 4 * (4 * 48 * 24 + 2 * 12 * 24));
  // A place of each ring, for dy and for y and dh. Of each layer h, logits, choice, tokens of experts; offsets, and neuron, dot
  // and score of 72 pairs; in whole lines of 64 bytes.
  const ofLayer = lines([24 * 24, 24 * 12, 24 * 2, 12, 25, 72, 72, 72]);
  assert.equal(host.pinned, 2 * 4 * 24 * 24 + 2 * ofLayer);
  // Rows and their gradients, which can be of all rows, travel by a place up and two down; h stays on the device.
  assert.equal(device.pinned, 3 * 4 * 48 * 24 + 2 * (ofLayer - lines([24 * 24])));
  const { parameters, optimizer, gradients } = (await predictMemory(run)).bytes;
  for (const prediction of [host, device]) {
    assert.deepEqual(prediction.host, { parameters, optimizer, gradients });
  }
  const activations = 2 * 2 * (2 * 4 * 24 * 24);
  assert.deepEqual(host.pcie, { up: activations, down: activations });
  // In each layer rows up and gradients down once a step, and the router's; h and what scores get for each micro-batch.
  const moved = 2 * 4 * rows * 24 + 4 * 12 * 24;
  assert.deepEqual(device.pcie, { up: 2 * moved, down: 2 * (moved + 2 * 4 * (24 * 24 + 24 * 3)) });
  const whole = await predictDevice(runOf(model, { method: queries }), "host");
  assert.equal(whole.device.adapter, 16 * 384);
  assert.deepEqual([whole.pinned, whole.pcie], [0, { up: 0, down: 0 }]);
  assert.deepEqual(whole.host, { parameters: 0, optimizer: 0, gradients: 0 });
});

/** Bytes of arrays of so many f32 or indices, in whole lines of 64 bytes. */
function lines(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + Math.ceil(4 * count / 64) * 64, 0);
}

/** Sizes of micro-batches of which the first or the later ones are the largest. */
function sizesOf(run: Run, sizes: Partial<BatchSizes>): BatchSizes {
  return { ...fullBatches(run.settings), ...sizes };
}

Deno.test("predictDevice() goes by the largest micro-batch, and by the mean step for what travels token by token", async () => {
  using model = smallModel();
  const run = runOf(model);
  const [large, small] = [{ tokens: 40, targets: 30 }, { tokens: 20, targets: 10 }];
  const meanStep = { tokens: 50, targets: 40, pairs: 300 };
  const sums: number[] = [];
  const pinned: number[] = [];
  for (const [first, later] of [[large, small], [small, large]] as const) {
    const onHost = await predictDevice(run, "host", sizesOf(run, { first, later, meanStep }));
    pinned.push(onHost.pinned);
    assertWithin("up", [onHost.pcie.up], [2 * 2 * (2 * 4 * 25 * 24)], 1e-6);
    const onDevice = await predictDevice(run, "device", sizesOf(run, { first, later }));
    const ofLayer = lines([40 * 12, 40 * 2, 12, 41, 120, 120, 120]);
    assert.equal(onDevice.pinned, 3 * 4 * 48 * 24 + 2 * ofLayer);
    const whole = runOf(model, { method: queries });
    const { device } = await predictDevice(whole, "device", sizesOf(whole, { first, later }));
    // The logits stand in the arena with all else; those of the first micro-batch are told apart.
    sums.push(device.activations + device["loss chunk"]);
    assert.equal(device["loss chunk"], first.targets * 61 * 4);
  }
  assert.equal(sums[0], sums[1]);
  assert.equal(pinned[0], pinned[1]);
});

Deno.test("besideDevice() leaves the host its rows and pinned memory, and of what the device has nothing", async () => {
  using model = smallModel();
  const run = runOf(model);
  const memory = await predictMemory(run);
  const prediction = await predictDevice(run, "host");
  const beside = besideDevice(memory, prediction);
  const { pinned } = prediction;
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
  const ofWhole = besideDevice(await predictMemory(whole), await predictDevice(whole, "host"));
  assert.deepEqual(ofWhole.bytes, none);
});

Deno.test("predictMemory() says what rows take that tokens reach, after a step and in the whole run", async () => {
  using model = smallModel();
  const run = runOf(model);
  const batches = sizesOf(run, { stepTokens: 10, runTokens: 30 });
  const { bytes, residentBytes, startBytes } = await predictMemory(run, batches);
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
  const short = await predictMemory(run, { ...batches, runTokens: 4 });
  assert.deepEqual(short.startBytes, short.residentBytes, "a run of less than a step");
  const whole = await predictMemory(runOf(model, { method: full() }));
  assert.deepEqual(whole.residentBytes, { ...whole.bytes, weights: 0 }, "weights are read once");
});

Deno.test("predictMemory() counts parameters and their bytes, and processPeakBytes() adds what was resident before", async () => {
  using model = smallModel();
  const counts = async (method: Method) => {
    const memory = await predictMemory(runOf(model, { method }));
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
  assert.deepEqual(await counts(method({})), [2 * 24 * 108, 2 * 24 * 108]);
  assert.deepEqual(await counts(method({ keys: "frozen" })), [2 * 24 * 108, 2 * 24 * 60]);
  assert.deepEqual(await counts(queries), [384, 384]);
  const memory = await predictMemory(runOf(model));
  assert.equal(memory.logitsBytes, 22 * 61 * 8, "in floats of the reference");
  const resident = Object.values(memory.residentBytes).reduce((a, b) => a + b);
  assert.equal(processPeakBytes(memory, 1000), 1000 + resident + 6 * 2 ** 20);
});

Deno.test("fullBatches() are rows of full length: of a step, of a micro-batch, and one micro-batch where that is all", () => {
  const batch = { size: 5, micro: 2, seqLen: 12 };
  assert.deepEqual(fullBatches({ batch }), {
    first: { tokens: 24, targets: 22 },
    later: { tokens: 24, targets: 22 },
    evaluation: null,
    longest: 12,
    stepTokens: 60,
    runTokens: Infinity,
    meanStep: { tokens: 60, targets: 55, pairs: 390 },
  });
  const { first, later } = fullBatches({ batch: { ...batch, size: 2, micro: 4 } });
  assert.deepEqual([first, later], [{ tokens: 24, targets: 22 }, null]);
  assert.equal(fullBatches({ batch: { ...batch, size: 2 } }).later, null);
});
