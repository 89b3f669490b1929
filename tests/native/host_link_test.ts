// SPDX-License-Identifier: Apache-2.0
/** Rings over the streams of a device that does its work as late as it may: what must wait for what, one by one. */
import assert from "node:assert/strict";
import { NativeContext } from "../../lib/native/context.ts";
import { DeviceMemory } from "../../lib/native/device_memory.ts";
import { DeviceStreams } from "../../lib/native/device_streams.ts";
import { type HostLink, type LinkArray, ringLink } from "../../lib/ops/host_link.ts";
import { linkDevice, streamClock } from "../../lib/ops/native/device_link.ts";
import { openTestDevice } from "../cuda_library.ts";

const { backend } = openTestDevice();
const COUNT = 5;

interface Device {
  readonly link: HostLink;
  /** An array on the device with every element x. */
  readonly filled: (x: number) => Float32Array;
  readonly device: DeviceMemory;
  readonly read: <A extends LinkArray>(from: A, into: A) => number[];
}

async function withDevice(slots: number, use: (device: Device) => Promise<void>): Promise<void> {
  Deno.env.set("MEFT_EMULATED_LATE", "1");
  using owned = new DisposableStack();
  const context = owned.use(new NativeContext("cuda"));
  const device = owned.use(new DeviceMemory(context));
  const streams = owned.use(new DeviceStreams(context));
  Deno.env.delete("MEFT_EMULATED_LATE");
  await use({
    link: ringLink(linkDevice(streams, streamClock(streams)), slots),
    device,
    filled(x) {
      const array = new Float32Array(device.reserve(4 * COUNT, "activations"));
      device.copy(array, new Float32Array(COUNT).fill(x));
      return array;
    },
    read(from, into) {
      device.copy(into, from);
      return [...into];
    },
  });
}

const all = (x: number): number[] => Array(COUNT).fill(x);
const host = (): Float32Array => new Float32Array(COUNT);

Deno.test(`ringLink() on ${backend} copies what the model's work so far left, in f32 and in bf16`, () =>
  withDevice(2, async ({ link, filled, device }) => {
    const x = filled(1);
    device.copy(x, filled(2));
    const arrival = link.down(x);
    await arrival.ready();
    assert.deepEqual([...arrival.data], all(2));
    arrival.release();
    const halves = new Uint16Array(device.reserve(2 * COUNT, "activations"));
    device.copy(halves, Uint16Array.of(1, 2, 3, 4, 5));
    const other = link.down(halves, (count) => new Uint16Array(count));
    await other.ready();
    assert.ok(other.kept && other.data instanceof Uint16Array);
    assert.deepEqual([...other.data], [1, 2, 3, 4, 5]);
    assert.deepEqual({ ...link.bytes }, { down: 6 * COUNT, up: 0 });
  }));

Deno.test(`ringLink() on ${backend} lets the host write where a copy up has read, and not before`, () =>
  withDevice(1, async ({ link, filled, read }) => {
    const [first, second] = [filled(0), filled(0)];
    for (const [to, x] of [[first, 1], [second, 2]] as const) {
      const landing = link.landing(to);
      await landing.ready();
      landing.data.fill(x);
      link.arrive(to);
    }
    assert.deepEqual([read(first, host()), read(second, host())], [all(1), all(2)]);
    assert.deepEqual({ ...link.bytes }, { down: 0, up: 2 * 4 * COUNT });
  }));

Deno.test(`ringLink() on ${backend} overwrites nothing that the model's earlier work has yet to read`, () =>
  withDevice(1, async ({ link, filled, device, read }) => {
    const [to, seen] = [filled(3), filled(0)];
    device.copy(seen, to);
    const landing = link.landing(to);
    await landing.ready();
    landing.data.fill(4);
    link.arrive(to);
    const next = link.landing(filled(0));
    await next.ready(); // the copy up is done by now
    assert.deepEqual([read(seen, host()), read(to, host())], [all(3), all(4)]);
  }));

Deno.test(`ringLink() on ${backend} says when all places are taken, and reset() gives them back`, () =>
  withDevice(1, async ({ link, filled }) => {
    const x = filled(7);
    for (let time = 0; time < 3; time++) {
      link.down(x);
      link.landing(x);
      assert.throws(() => link.down(x), /All 1 slots of the copies down are in use/);
      assert.throws(() => link.landing(x), /All 1 slots of the copies up are in use/);
      await link.reset();
    }
    const arrival = link.down(x);
    await arrival.ready();
    assert.deepEqual([...arrival.data], all(7));
  }));

Deno.test(`ringLink() on ${backend} takes larger places when they are needed`, () =>
  withDevice(1, async ({ link, device }) => {
    for (const count of [3, 1000, 7]) {
      const x = new Float32Array(device.reserve(4 * count, "activations"));
      device.copy(x, new Float32Array(count).fill(count));
      const arrival = link.down(x);
      await arrival.ready();
      assert.deepEqual([...arrival.data], Array(count).fill(count));
      arrival.release();
    }
  }));
