// SPDX-License-Identifier: Apache-2.0
/** meft_planes_*: which bits split-plane masters hold. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { planesJoin, planesSplit } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { bitsOf, guarded, machineTargets, misaligned, normals } from "./kernel_check.ts";

/** Floats of given bits, repeated so that they meet every lane of a vector and the rest behind it. */
function fromBits(bits: readonly number[], times: number): Float32Array<ArrayBuffer> {
  const all = Uint32Array.from({ length: bits.length * times }, (_, i) => bits[i % bits.length] as number);
  const array = guarded(all.length);
  new Uint8Array(array.buffer, array.byteOffset, all.length * 4).set(new Uint8Array(all.buffer));
  return array;
}

/** Splits on one target; the planes are written between sentinels. */
function split(lane: NativeContext, x: Float32Array): { hi: Uint16Array; lo: Int16Array } {
  const hi = new Uint16Array(x.length + 2).fill(4321), lo = new Int16Array(x.length + 2).fill(-4321);
  planesSplit(lane, hi.subarray(1, -1), lo.subarray(1, -1), x, x.length);
  assert.deepEqual([hi[0], hi.at(-1), lo[0], lo.at(-1)], [4321, 4321, -4321, -4321], "sentinels");
  return { hi: hi.subarray(1, -1), lo: lo.subarray(1, -1) };
}

function onTargets(check: (lane: NativeContext) => void): void {
  for (const target of machineTargets()) {
    using lane = new NativeContext({ target, threads: 2 });
    check(lane);
    assert.equal(lane.info().ranTarget, target);
  }
}

// Zeros, subnormals, 1 and its neighbours, halves of a bf16 step, the largest numbers, infinities.
const NUMBERS = [0, 1, 0x7fff, 0x8000, 0x007fffff, 0x3f800000, 0x3f807fff, 0x3f808000, 0x3f808001, 0x3f818000]
  .concat([0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0x7f800000])
  .flatMap((bits) => [bits, (bits | 0x80000000) >>> 0]);

Deno.test("planesSplit() keeps every number bit for bit and rounds hi to bf16, halves up in magnitude", () => {
  onTargets((lane) => {
    for (const x of [fromBits(NUMBERS, 5), normals(40_007, 1), misaligned([]), misaligned([-2.5])]) {
      const { hi, lo } = split(lane, x);
      const bits = bitsOf(x);
      bits.forEach((value, i) =>
        assert.equal(hi[i], ((value + 0x8000) & 0xffffffff) >>> 16, `hi of ${value}`)
      );
      const joined = guarded(x.length);
      planesJoin(lane, joined, hi, lo, x.length);
      assertSame(bitsOf(joined), bits);
    }
  });
});

Deno.test("planesSplit() stores every NaN as a NaN that hi alone shows", () => {
  onTargets((lane) => {
    const x = fromBits(
      [0x7fc00000, 0xffc00000, 0x7f800001, 0x7fff8000, 0xffffffff, 0x7fffffff, 0xff800001],
      7,
    );
    const { hi, lo } = split(lane, x);
    assert.ok(hi.every((value) => value === 0x7fc0) && lo.every((value) => value === 0));
  });
});

Deno.test("planesSplit() and planesJoin() name the argument that is wrong", () => {
  using lane = new NativeContext();
  assert.throws(
    () => planesSplit(lane, null, new Int16Array(1), new Float32Array(1), 1),
    /planes_split: hi is null/,
  );
  assert.throws(() => planesJoin(lane, null, null, null, -1), /planes_join: count is -1/);
});
