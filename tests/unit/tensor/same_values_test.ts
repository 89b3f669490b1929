// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { floatToBf16, floatToF16 } from "../../../lib/core/half.ts";
import { sameValues } from "../../../lib/tensor/same_values.ts";
import type { TensorEntry } from "../../../lib/tensor/safetensors.ts";
import { withFolder } from "../../fixtures/folder.ts";

const STORED = {
  f32: (values: ArrayLike<number>) => Float32Array.from(values),
  f64: (values: ArrayLike<number>) => Float64Array.from(values),
  bf16: (values: ArrayLike<number>) => Uint16Array.from(values, floatToBf16),
  f16: (values: ArrayLike<number>) => Uint16Array.from(values, floatToF16),
} as const;
type Kind = keyof typeof STORED;
const KINDS = Object.keys(STORED) as Kind[];

/** Writes tensors that begin at different bytes of their files, and compares them. */
function compareIn(folder: string) {
  const write = (name: string, dtype: Kind, values: ArrayLike<number>, offsetBytes: number): TensorEntry => {
    const data = STORED[dtype](values);
    const path = join(folder, name);
    const file = new Uint8Array(offsetBytes + data.byteLength).fill(0xee);
    file.set(new Uint8Array(data.buffer), offsetBytes);
    Deno.writeFileSync(path, file);
    return { name, dtype, shape: [values.length], path, offsetBytes, bytes: data.byteLength };
  };
  return (ofA: Kind, a: ArrayLike<number>, ofB: Kind, b: ArrayLike<number>): boolean =>
    sameValues(write("a", ofA, a, 3), write("b", ofB, b, 8));
}

Deno.test("sameValues() compares numbers, whatever they are stored as, to the last one", () =>
  withFolder((folder) => {
    const same = compareIn(folder);
    const values = [1, -2.5, 0, 0.375, 100]; // exact in every type; as 16-bit floats they do not fill whole words
    for (const ofA of KINDS) {
      for (const ofB of KINDS) {
        assert.equal(same(ofA, values, ofB, values), true, `${ofA} and ${ofB}`);
        for (const at of [0, 4]) {
          assert.equal(same(ofA, values, ofB, values.with(at, 3)), false, `${ofA} and ${ofB}, element ${at}`);
        }
      }
    }
  }));

Deno.test("sameValues() takes zeros of either sign for equal, and NaN only where the bytes are", () =>
  withFolder((folder) => {
    const same = compareIn(folder);
    for (const kind of KINDS) {
      assert.equal(same(kind, [0, 1], kind, [-0, 1]), true);
      assert.equal(same(kind, [NaN, 1], kind, [NaN, 1]), true);
      assert.equal(same(kind, [NaN, 1], kind, [NaN, 2]), false);
    }
    assert.equal(same("f32", [NaN], "bf16", [NaN]), false);
  }));

Deno.test("sameValues() of another number of elements is false, of none true", () =>
  withFolder((folder) => {
    const same = compareIn(folder);
    assert.equal(same("f32", [1, 2], "f32", [1, 2, 3]), false);
    assert.equal(same("f32", [1, 2, 3], "f32", [1, 2]), false);
    assert.equal(same("f32", [], "bf16", []), true);
  }));

Deno.test("sameValues() goes on after the first piece of a large tensor", () =>
  withFolder((folder) => {
    const same = compareIn(folder);
    const values = new Float32Array((1 << 20) + 3).fill(1);
    const other = values.slice();
    other[other.length - 1] = 2;
    assert.equal(same("f32", values, "f32", values), true);
    assert.equal(same("f32", values, "f32", other), false);
  }));
