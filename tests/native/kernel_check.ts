// SPDX-License-Identifier: Apache-2.0
/** What every test of a native kernel needs: all targets, guarded arrays. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { randomNormal } from "../../lib/core/rng.ts";
import { NativeContext, type Target, TARGETS } from "../../lib/native/context.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { withCheckedWorkspace } from "../checked_workspace.ts";

const SENTINEL = 12345.5;
const GUARD = 67; // elements on each side, more than a tile is wide; odd, so that the array lies off every vector boundary

/** Targets that were compiled and that this machine runs. */
export function machineTargets(): Target[] {
  return buildInfo(openLibrary()).machineTargets.filter((name): name is Target => name in TARGETS);
}

/** (count) floats at a misaligned address, with sentinels around them and NaN inside. */
export function guarded(count: number): Float32Array<ArrayBuffer> {
  const all = new Float32Array(count + 2 * GUARD).fill(SENTINEL);
  return all.subarray(GUARD, GUARD + count).fill(NaN);
}

/** N(0, std^2), rounded to f32, at a misaligned address. */
export function normals(count: number, stream: number, std = 1): Float32Array<ArrayBuffer> {
  const array = guarded(count);
  randomNormal(array, 1234, stream, std);
  return array;
}

function assertGuards(array: Float32Array): void {
  const all = new Float32Array(array.buffer);
  const start = array.byteOffset / 4;
  for (let i = 0; i < all.length; i++) {
    const inside = i >= start && i < start + array.length;
    assert.ok(inside || all[i] === SENTINEL, `wrote outside of its output, ${i - start} from its start`);
  }
}

/** Bits of floats, so that NaN and -0 count. */
export function bitsOf(array: Float32Array): Uint32Array {
  return new Uint32Array(array.slice().buffer);
}

/**
 * Runs `compute` on every target with one thread and with two. Its outputs, from {@linkcode guarded}, must have the same
 * bits for both, leave their sentinels and the workspace's guards alone, and come from the target asked for. Then `check`
 * sees them.
 */
export function onEveryTarget<Outputs extends Readonly<Record<string, Float32Array>>>(
  compute: (lane: NativeContext) => Outputs,
  check: (outputs: Outputs, target: Target) => void,
): void {
  for (const target of machineTargets()) {
    using two = withCheckedWorkspace(() => new NativeContext({ target, threads: 2 }));
    using one = withCheckedWorkspace(() => new NativeContext({ target, threads: 1 }));
    const outputs = compute(two);
    assert.equal(two.info().ranTarget, target);
    const again = compute(one);
    for (const name in outputs) {
      assertGuards(outputs[name] as Float32Array);
      assertSame(
        bitsOf(again[name] as Float32Array),
        bitsOf(outputs[name] as Float32Array),
        `${name} on ${target}: one thread and two differ`,
      );
    }
    check(outputs, target);
  }
}
