// SPDX-License-Identifier: Apache-2.0
/** What is advised when a device is full: to the byte, by who holds what and who was refused. */
import assert from "node:assert/strict";
import { NativeError, UserError } from "../../../lib/core/errors.ts";
import { lora } from "../../../lib/methods/methods.ts";
import type { Model } from "../../../lib/models/model.ts";
import { Arena } from "../../../lib/native/arena.ts";
import type { DeviceFacts } from "../../../lib/native/device_memory.ts";
import type { Device } from "../../../lib/ops/kernels/device.ts";
import { createLedger } from "../../../lib/native/ledger.ts";
import { MEFT_OUT_OF_MEMORY } from "../../../lib/native/symbols.ts";
import { adviseDevice, deviceActivationBytes, fittingSettings } from "../../../lib/predict/device_fit.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { withinDevice } from "../../../lib/train/within_device.ts";
import { smallModel, smallOptions } from "../train/small_run.ts";

const BATCH = { size: 8, micro: 4, seqLen: 12 };

/** A model whose arena has blocks so small that every byte shows. */
function smallBlocks(): Model {
  const model = smallModel();
  return { ...model, kernels: { ...model.kernels, arena: new Arena(createLedger(), 64) } };
}

function needed(run: Run, micro: number, activations = run.settings.activations): Promise<number> {
  const settings = { ...run.settings, batch: { ...run.settings.batch, micro }, activations };
  return deviceActivationBytes({ ...run, settings });
}

const facts = (freeBytes: number, more: Partial<DeviceFacts> = {}): DeviceFacts =>
  ({ freeBytes, ledger: {}, refused: null, ...more }) as DeviceFacts;
const bytes = (held: number, peak = held) => ({ bytes: held, peakBytes: peak });

Deno.test("fittingSettings() are the largest micro-batch that fits, then recomputing, then nothing", async () => {
  using model = smallBlocks();
  const run = plan(model, smallOptions({ batch: BATCH }));
  for (const micro of [3, 2, 1]) {
    assert.deepEqual(await fittingSettings(run, facts(await needed(run, micro))), {
      micro,
      activations: "store",
    });
  }
  const least = await needed(run, 1);
  const recomputed: number[] = [];
  for (const micro of [4, 3, 2, 1]) recomputed.push(await needed(run, micro, "recompute"));
  for (const [i, room] of recomputed.entries()) {
    if (room >= least) continue;
    const expected = { micro: 4 - i, activations: "recompute" };
    assert.deepEqual(await fittingSettings(run, facts(room)), expected);
  }
  assert.ok((recomputed[3] as number) < least);
  const tooLittle = facts((recomputed[3] as number) - 1);
  assert.equal(await fittingSettings(run, tooLittle), null);
  const already = plan(model, smallOptions({ batch: BATCH, activations: "recompute" }));
  assert.equal(await fittingSettings(already, tooLittle), null);
  assert.match(await adviseDevice(run, tooLittle), /^no micro-batch fits beside that, .* or device cpu$/);
});

Deno.test("fittingSettings() count what activations hold as free, and what others hold or were refused as taken", async () => {
  using model = smallBlocks();
  const run = plan(model, smallOptions({ batch: BATCH }));
  const room = await needed(run, 2);
  const advised = async (free: number, more: Partial<DeviceFacts>, of: Run = run) =>
    (await fittingSettings(of, facts(free, more)))?.micro;
  const cases: readonly (readonly [number, Partial<DeviceFacts>])[] = [
    [room - 100, { ledger: { activations: bytes(100) } }],
    // The workspace is taken again, as large as it was at most, or with what it was refused.
    [room, { ledger: { workspace: bytes(300) } }],
    [room + 50, { ledger: { workspace: bytes(300, 350) } }],
    [room + 200, { ledger: { workspace: bytes(300, 350) }, refused: { class: "workspace", bytes: 200 } }],
    [room + 70, { refused: { class: "cache", bytes: 70 } }],
    [room + 80, { refused: { class: "weights", bytes: 80 } }],
    [room, { refused: { class: "activations", bytes: 90 } }],
  ];
  for (const [free, more] of cases) {
    const label = JSON.stringify(more);
    assert.equal(await advised(free, more), 2, label);
    assert.equal(await advised(free - 1, more), 1, label);
  }
  // What is trained on the device, and is not there yet.
  const whole = plan(model, smallOptions({ batch: BATCH, method: lora({ rank: 2 }) }));
  const { parameters = 0, gradients = 0, optimizer = 0 } = (await predictMemory(whole)).bytes;
  const ledger = { parameters: bytes(parameters), gradients: bytes(10), optimizer: bytes(optimizer + 5) };
  const free = await needed(whole, 2) + gradients - 10;
  assert.equal(await advised(free, { ledger }, whole), 2);
  assert.equal(await advised(free - 1, { ledger }, whole), 1);
  assert.equal(await advised(await needed(whole, 2) + parameters + gradients + optimizer, {}, whole), 2);
});

Deno.test("deviceActivationBytes() are those of both halves, each with its share of the tokens", async () => {
  using model = smallBlocks();
  const of = (options: RunOptions) => deviceActivationBytes(plan(model, smallOptions(options)));
  const batch = { size: 2, micro: 2, seqLen: 12 };
  const whole = await of({ batch });
  const halves = await of({ batch, halves: 2 });
  assert.equal(halves, 2 * await of({ batch: { size: 1, micro: 1, seqLen: 12 } }));
  assert.ok(halves < 1.2 * whole);
});

Deno.test("withinDevice() explains a full device, and nothing else", async () => {
  using model = smallBlocks();
  const full = new NativeError("linear_forward", MEFT_OUT_OF_MEMORY, "asked for 3 MiB of workspace");
  const pinned = new NativeError("pinned_reserve", MEFT_OUT_OF_MEMORY, "no pinned memory");
  const other = new NativeError("linear_forward", MEFT_OUT_OF_MEMORY + 1, "broken");
  const failing = (run: Run, error: Error) =>
    withinDevice(run, () => Promise.reject(error), { adviseDevice });
  const onHost = plan(model, smallOptions({ batch: BATCH }));
  await assert.rejects(failing(onHost, full), full);
  const room = await needed(onHost, 2);
  let released = 0;
  const device = {
    facts: () => facts(room),
    release: () => void released++,
  } as unknown as Device;
  const kernels = { ...model.kernels, device };
  const run = { ...onHost, model: { ...model, kernels } };
  await assert.rejects(failing(run, pinned), pinned);
  await assert.rejects(failing(run, other), other);
  const mark = kernels.arena.mark();
  kernels.arena.f32(100);
  kernels.arena.release(mark);
  await assert.rejects(failing(run, full), (error) => {
    assert.ok(error instanceof UserError && error.cause === full);
    const advice = "what would fit: --micro-batch-size 2";
    assert.equal(error.message, `The device is out of memory: asked for 3 MiB of workspace; ${advice}`);
    return true;
  });
  assert.equal(released, 1, "what is in use by nobody is given back");
  await assert.rejects(
    withinDevice(run, () => Promise.reject(full)),
    /workspace; take smaller micro-batches, recomputed activations, or device cpu$/,
    "nobody was there to say what would fit",
  );
  assert.equal(await withinDevice(run, () => 7), 7);
});
