// SPDX-License-Identifier: Apache-2.0
/** Which arrays a file may be read back into. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../../lib/core/errors.ts";
import type { RowParameter } from "../../../lib/optim/parameters.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import {
  arrayBytes,
  type NamedArray,
  optimizerArrays,
  parameterArrays,
  readArraysInto,
  readSources,
} from "../../../lib/train/checkpoint_tensors.ts";
import { withFolder } from "../../fixtures/folder.ts";

const k = referenceKernels();

function array(
  name: string,
  dtype: NamedArray["dtype"],
  shape: number[],
  data: NamedArray["data"],
): NamedArray {
  return { name, dtype, shape, data };
}

Deno.test("readArraysInto() reads what has the name, type and shape of its array, and refuses all else by name", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file.safetensors");
    const written = [
      array("a", "f32", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
      array("b", "i32", [2], Int32Array.of(-7, 8)),
    ];
    await writeSafetensors(path, readSources(k, written));
    const a = array("a", "f32", [2, 3], new Float32Array(6));
    const b = array("b", "i32", [2], new Int32Array(2));
    readArraysInto(k, path, [b, a]);
    assert.deepEqual([[...a.data as Float32Array], [...b.data as Int32Array]], [[1, 2, 3, 4, 5, 6], [-7, 8]]);
    const refused: [NamedArray[], RegExp][] = [
      [[a], /file\.safetensors holds tensors of another run: b$/],
      [
        [array("a", "f32", [3, 2], new Float32Array(6)), b],
        /"a" of .* is f32 \S*2\D+3\S*, expected f32 \S*3\D+2/,
      ],
      [[a, array("b", "f32", [2], new Float32Array(2))], /"b" of .* is i32 .*, expected f32 /],
      [[a, b, array("c", "i32", [1], new Int32Array(1))], /"c" of .* is missing, expected i32 /],
    ];
    for (const [arrays, message] of refused) {
      assert.throws(
        () => readArraysInto(k, path, arrays),
        (error: Error) => error instanceof UserError && message.test(error.message),
      );
    }
  }));

Deno.test("a state's arrays are masters by planes, moments, last steps, and the rates of the steps taken", () => {
  const rows = {
    name: "keys",
    kind: "rows",
    trained: true,
    matrix: k.rowMatrix(3, 2),
  } as unknown as RowParameter;
  const moments = { m: k.floats(6), v: k.floats(6), lastStep: new Int32Array(3) };
  const state = { moments: new Map([["keys", moments]]), lrHistory: new Float32Array(64) };
  const arrays = optimizerArrays([rows], state, 5);
  assert.deepEqual(arrays.map(({ name, shape }) => [name, ...shape]), [
    ["keys.m", 3, 2],
    ["keys.v", 3, 2],
    ["keys.last_step", 3],
    ["lr_history", 5],
  ]);
  const [m, v, last] = arrays;
  assert.ok(m?.data === moments.m && v?.data === moments.v && last?.data === moments.lastStep);
  assert.equal(arrayBytes(arrays), 2 * moments.m.byteLength + 4 * 3 + 4 * 5);
  const planes = { hi: new Uint16Array(6), lo: new Int16Array(6), full: null };
  const split = { ...rows, matrix: { ...rows.matrix, ...planes } } as RowParameter;
  const found = parameterArrays([split]);
  assert.deepEqual(found.map(({ name, dtype }) => [name, dtype]), [["keys.hi", "u16"], ["keys.lo", "i16"]]);
  assert.ok(found[0]?.data === planes.hi && found[1]?.data === planes.lo);
});
