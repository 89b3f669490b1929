// SPDX-License-Identifier: Apache-2.0
/** Memory of a device, emulated where there is none: what may be done with it, and what happens when one may not. */
import assert from "node:assert/strict";
import { NativeContext } from "../../lib/native/context.ts";
import { DeviceMemory } from "../../lib/native/device_memory.ts";
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
