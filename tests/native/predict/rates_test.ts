// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import type { DecoderConfig } from "../../../lib/models/families/decoder_config.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { heldBytes } from "../../../lib/native/ledger.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { lora, sparse } from "../../../lib/methods/methods.ts";
import { pairRoom } from "../../../lib/ops/sparse_pairs.ts";
import { calibrate, measureRates } from "../../../lib/predict/machine/measure.ts";
import { plan } from "../../../lib/train/plan.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { smallModel, smallOptions } from "../../unit/train/small_run.ts";

openTestDevice();

Deno.test("measureRates() gives rates that are numbers above 0, and gives back what it took", async () => {
  const places = [
    () => nativeKernels({ threads: 1 }),
    () => nativeKernels({ threads: 1, async: true }),
    () => cudaKernels({ host: { threads: 1 }, compute: "f32", blockBytes: 1 << 18 }),
  ];
  for (const open of places) {
    using kernels = open();
    using model = openCheckpoint(modelFixture("llama3_tied").dir, kernels);
    const held = heldBytes(kernels.ledger);
    const rates = await measureRates(model, {
      tokens: 64,
      sparse: { experts: 8, activeExperts: 2, topK: 4 },
    });
    for (const [name, rate] of Object.entries(rates)) {
      assert.ok(rate > 0 && rate < Infinity, `${name}: ${rate}`);
    }
    assert.ok(rates.scoreFlopsPerSecond < 1e13 && rates.modelFlopsPerSecond < 1e13);
    assert.equal(kernels.arena.usedBytes + kernels.hostArena.usedBytes, 0);
    assert.equal(kernels.ledger.held.get("gradients"), 0);
    assert.ok(heldBytes(kernels.ledger) - held < 2 ** 20, "all but its arenas");
  }
});

Deno.test("measureRates() divides what was moved by the quickest of two rounds after one that warms up, without the copy that every round ends with", async () => {
  using kernels = nativeKernels({ threads: 1 });
  using model = smallModel(kernels);
  // Milliseconds of two rounds of: down, up and down, product and down, of the sparse layer none, a copy on the host, a meeting.
  const rounds = [3, 1, 5, 9, 4, 8, 12, 10, 15, 13];
  let [now, calls] = [0, 0];
  // Each has a round that warms up, is begun, has two rounds from a start to an end, and asks whether the time is up.
  const rest = 0.25;
  const lasts: number[] = [];
  for (
    const [i, first, second] of [0, 1, 2, 3, 4].map((i) => [i, rounds[2 * i], rounds[2 * i + 1]] as const)
  ) {
    lasts.push(rest, 0.5, rest, rest, first as number, rest, second as number, rest);
    if (i === 2) lasts.push(rest, rest);
  }
  const clock = () => now += lasts[calls++] as number;
  const sizes = { tokens: 64, sparse: { experts: 8, activeExperts: 2, topK: 4 } };
  const rates = await measureRates(model, sizes, clock);
  const bytes = 64 * 24 * 4;
  const { numAttentionHeads: H, headDim } = model.config as DecoderConfig;
  const expected = {
    downBytesPerSecond: bytes / 1e-3,
    upBytesPerSecond: bytes / 4e-3,
    modelFlopsPerSecond: 2 * 64 * 24 * H * headDim / 3e-3,
    hostBytesPerSecond: 2 * bytes / 10e-3,
    meetingSeconds: 13e-3,
  };
  for (const [name, value] of Object.entries(expected)) {
    const found = rates[name as keyof typeof expected];
    assert.ok(Math.abs(found / value - 1) < 1e-6, `${name}: ${found}, expected ${value}`);
  }
  assert.equal(calls, lasts.length);
});

Deno.test("measureRates() takes the host lane's rates from its own account, by the mean of all rounds", async () => {
  using native = nativeKernels({ threads: 1 });
  // What the account says before and after each of three rounds, in milliseconds.
  const account = (readings: number[]) => ({ get: () => readings.shift() });
  const hostTimes = Object.defineProperties({ ...native.hostTimes }, {
    routing: account([0, 1, 1, 2, 2, 3]),
    scoring: account([0, 9, 9, 11, 11, 15]), // 15 and 3 of routing in three rounds: 6 a round
    backward: account([5, 8, 8, 9, 9, 17]), // 4 a round
  });
  using model = smallModel(Object.create(native, { hostTimes: { value: hostTimes } }) as typeof native);
  const rates = await measureRates(model, {
    tokens: 64,
    sparse: { experts: 8, activeExperts: 2, topK: 4 },
  });
  assertClose(rates.scoreFlopsPerSecond, 2 * 64 * 24 * (8 + 2 * 8) / 6e-3);
  const pairs = rates.pairFlopsPerSecond * 4e-3 / (4 * 2 * 24);
  assertClose(pairs, Math.round(pairs));
  assert.ok(pairs > 64 && pairs <= 64 * 4, `${pairs} pairs of 64 tokens`);
});

function assertClose(found: number, expected: number): void {
  assert.ok(Math.abs(found / expected - 1) < 1e-6, `${found}, expected ${expected}`);
}

Deno.test("calibrate() counts the operations and bytes of what it times", async () => {
  using k = nativeKernels({ threads: 1 });
  using model = smallModel(k);
  const method = sparse({ neurons: 48, experts: 12, activeExperts: 2, topK: 3 });
  const run = plan(model, smallOptions({ method, batch: { size: 4, micro: 2, seqLen: 12 } }));
  let now = 0;
  const rates = await calibrate(run, { threads: 1, clock: () => now++ });
  const { numAttentionHeads: H, headDim } = model.config as DecoderConfig;
  const a = 1000; // every round takes a millisecond by that clock
  const products = a * 2 * 24 * 24 * H * headDim; // of queries: the largest
  assert.deepEqual({ ...rates, calibrationMs: 0 }, {
    linearForward: products,
    linearBackward: products,
    // Two products forward and five backward, over the pairs of one row.
    attention: a * 7 * 2 * H * headDim * (12 * 13 / 2),
    // Router, keys of both experts, and what four products of pairs and two of scores come to.
    sparse: a * 2 * 256 * 24 * (12 + 2 * 4 + 5 * 3 + 2 * 2),
    bandwidth: a * 3 * 4 * 2 ** 23,
    calibrationMs: 0,
  });
  // In scope union tokens fire what others have chosen: pairs are counted as a run's are.
  const union = { neurons: 48, experts: 12, activeExperts: 2, topK: 3, scope: "union" } as const;
  const shared = plan(
    model,
    smallOptions({ method: sparse(union), batch: { size: 4, micro: 2, seqLen: 12 } }),
  );
  const room = pairRoom({ ...union, gate: "raw", tokens: 256 });
  assert.equal(
    (await calibrate(shared, { threads: 1, clock: () => now++ })).sparse,
    a * 2 * 24 * (256 * (12 + 2 * 4) + 5 * room + 256 * 2 * 2),
  );
  const bare = plan(model, smallOptions({ batch: { size: 4, micro: 2, seqLen: 12 }, method: lora() }));
  assert.equal((await calibrate(bare, { threads: 1, clock: () => now++ })).sparse, null);
});
