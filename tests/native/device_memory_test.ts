// SPDX-License-Identifier: Apache-2.0
/** Memory of a device, emulated where there is none: what may be done with it, and what happens when one may not. */
import assert from "node:assert/strict";
import { NativeContext } from "../../lib/native/context.ts";
import { DeviceMemory } from "../../lib/native/device_memory.ts";
import { DeviceStreams } from "../../lib/native/device_streams.ts";
import { openTestDevice } from "../cuda_library.ts";

const { backend } = openTestDevice();

Deno.test(`DeviceMemory of ${backend} keeps what is copied to it, and books it by class`, () => {
  using context = new NativeContext("cuda");
  using device = new DeviceMemory(context);
  device.resetPeaks();
  const block = device.reserve(4096, "weights");
  const there = new Float32Array(block, 64, 5);
  device.copy(there, Float32Array.of(1, 2, 3, 4, 5));
  device.zero(there.subarray(1, 2));
  const other = new Float32Array(device.reserve(20, "cache"));
  device.copy(other, there);
  const back = new Float32Array(5);
  device.copy(back, other);
  assert.deepEqual([...back], [1, 0, 3, 4, 5]);
  assert.equal(device.holds(there), true);
  assert.equal(device.holds(back), false);
  assert.equal(device.facts().ledger["weights"]?.bytes, 4096);
  device.release(block);
  assert.equal(device.facts().ledger["weights"]?.bytes, 0);
  assert.equal(device.facts().ledger["weights"]?.peakBytes, 4096);
});

Deno.test(`DeviceMemory of ${backend} gives back what work that fails has reserved, and everything when it is disposed`, () => {
  using context = new NativeContext("cuda");
  using other = new DeviceMemory(context);
  const held = (name: string) => other.facts().ledger[name]?.bytes ?? 0;
  const before = [held("weights"), held("cache"), held("activations")];
  const device = new DeviceMemory(context);
  const kept = device.reserve(256, "weights");
  assert.throws(
    () =>
      device.reserving(() => {
        device.reserve(512, "cache");
        device.release(device.reserve(64, "activations"));
        throw new Error("no more");
      }),
    /no more/,
  );
  assert.deepEqual([held("weights"), held("cache")], [before[0]! + 256, before[1]]);
  assert.equal(device.holds(new Uint8Array(kept)), true);
  const made = device.reserving(() => device.reserve(128, "cache"));
  assert.equal(held("cache"), before[1]! + 128);
  assert.equal(device.reserve(0, "cache").byteLength, 0);
  device.release(new ArrayBuffer(8)); // of nobody
  assert.equal(made.byteLength, 128);
  device[Symbol.dispose]();
  device[Symbol.dispose]();
  assert.deepEqual([held("weights"), held("cache"), held("activations")], before);
});

Deno.test(`DeviceMemory of ${backend} adds up all classes but pinned memory, which is the host's`, () => {
  using context = new NativeContext("cuda");
  using device = new DeviceMemory(context);
  device.resetPeaks();
  const before = device.bytes();
  assert.equal(before.peak, before.held);
  device.reserve(4096, "weights");
  device.release(device.reserve(8192, "cache"));
  using streams = new DeviceStreams(context);
  const pinned = streams.reservePinned(1 << 20);
  const given = streams.reservePinned(4096, "up");
  const ofPinned = () => device.facts().ledger["pinned"]?.bytes;
  assert.equal(ofPinned(), (1 << 20) + 4096);
  for (let i = 0; i < 2; i++) {
    streams.releasePinned(given);
    assert.equal(ofPinned(), 1 << 20);
  }
  assert.deepEqual([pinned.byteLength, streams.reservePinned(0).byteLength], [1 << 20, 0]);
  assert.deepEqual(device.bytes(), { held: before.held + 4096, peak: before.peak + 4096 + 8192 });
  device.resetPeaks();
  assert.deepEqual(device.bytes(), { held: before.held + 4096, peak: before.held + 4096 });
});

Deno.test(`DeviceMemory of ${backend} refuses copies that leave a block, and between arrays of the host`, () => {
  using context = new NativeContext("cuda");
  using device = new DeviceMemory(context);
  const there = new Float32Array(device.reserve(16, "weights"));
  assert.throws(() => device.copy(new Float32Array(4), new Float32Array(4)), /both the host's/);
  assert.throws(() => device.copy(there, new Float32Array(5)), /20 bytes to an array of 16/);
});

Deno.test(`DeviceMemory of ${backend} says who asked and who holds what when memory is out`, () => {
  using context = new NativeContext("cuda");
  using device = new DeviceMemory(context);
  device.reserve(1 << 20, "weights");
  assert.throws(
    () => device.reserve(2 ** 50, "activations"),
    /activations asked the device for 1048576\.00 GiB, [\d.]+ GiB are free \(held: .*weights 1\.00 MiB/,
  );
});

Deno.test("a process whose JavaScript touches device memory ends with a sentence", async () => {
  const script = `
    import { NativeContext } from "${new URL("../../lib/native/context.ts", import.meta.url)}";
    import { DeviceMemory } from "${new URL("../../lib/native/device_memory.ts", import.meta.url)}";
    const device = new DeviceMemory(new NativeContext("cuda"));
    new Float32Array(device.reserve(4096, "weights"))[3] = 1;
    console.log("survived");`;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", script],
  }).output();
  assert.equal(success, false);
  assert.equal(new TextDecoder().decode(stdout), "");
  assert.match(new TextDecoder().decode(stderr), /the host touched device memory/);
});
