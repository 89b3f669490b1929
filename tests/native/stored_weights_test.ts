// SPDX-License-Identifier: Apache-2.0
/** Weights as calls are given them: rows that lie apart, at any byte, in memory or in a file, up to its end. */
import assert from "node:assert/strict";
import { floatToBf16, floatToF16 } from "../../lib/core/half.ts";
import * as calls from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { MappedFile } from "../../lib/native/mapped_file.ts";
import { writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_BF16, MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { assertSameBits } from "../compare.ts";
import { machineTargets } from "../contract/backends.ts";
import { normals } from "../fixtures/normals.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A weight as calls take it: null in place of bytes that lie in a file. */
interface Given {
  readonly data: Bytes | null;
  readonly descriptor: Bytes;
}

/** Bytes of a matrix whose rows lie `gap` elements apart: NaN between them, and nothing behind the last element. */
function bytesOf(dtype: number, values: Float32Array, cols: number, gap: number): Bytes {
  const [rows, width, stride] = [values.length / cols, dtype === MEFT_F32 ? 4 : 2, cols + gap];
  const bytes = new Uint8Array(((rows - 1) * stride + cols) * width).fill(0xff);
  const view = new DataView(bytes.buffer);
  values.forEach((x, i) => {
    const at = (Math.floor(i / cols) * stride + i % cols) * width;
    if (dtype === MEFT_F32) view.setFloat32(at, x, true);
    else view.setUint16(at, dtype === MEFT_BF16 ? floatToBf16(x) : floatToF16(x), true);
  });
  return bytes;
}

/** `bytes` behind `offset` others. */
function behind(offset: number, bytes: Bytes): Bytes {
  const all = new Uint8Array(offset + bytes.length);
  all.set(bytes, offset);
  return all;
}

const [ROWS, COLS, GAP] = [37, 83, 3];
const WAYS = [2, 20, 200]; // tokens of each way of a product
const IDS = Int32Array.of(ROWS - 1, 0, 7, ROWS - 1);

/** What calls make of a weight: a product each way, and rows of a table. */
function results(lane: NativeContext, { data, descriptor }: Given): Float32Array[] {
  const rows = new Float32Array(IDS.length * COLS);
  calls.embeddingForward(lane, rows, IDS, data, descriptor, IDS.length, 0);
  const products = WAYS.flatMap((tokens) => {
    const [y, dx] = [new Float32Array(tokens * ROWS), new Float32Array(tokens * COLS)];
    const types = [tokens, MEFT_F32, MEFT_F32, MEFT_F32, 0] as const;
    calls.linearForward(lane, y, normals(tokens * COLS, 3), data, descriptor, null, null, ...types);
    calls.linearBackwardData(lane, dx, normals(tokens * ROWS, 5), data, descriptor, ...types);
    return [y, dx];
  });
  return [rows, ...products];
}

Deno.test("a weight gives the same bits with rows apart, at an odd byte, in a file, and where file and page end", () => {
  const path = Deno.makeTempFileSync();
  try {
    for (const dtype of [MEFT_F32, MEFT_BF16, MEFT_F16]) {
      const values = normals(ROWS * COLS, 1);
      const [dense, apart] = [0, GAP].map((gap) => bytesOf(dtype, values, COLS, gap)) as [Bytes, Bytes];
      const described = (gap: number, offsetBytes: number, handle = 0n) =>
        writeWeightParams({ dtype, rows: ROWS, cols: COLS, rowStride: COLS + gap, handle, offsetBytes });
      // As far from the beginning of a page as makes the last byte its last.
      const atPageEnd = 4096 - apart.length % 4096;
      for (const target of machineTargets()) {
        using lane = new NativeContext({ target, threads: 2 });
        const expected = results(lane, { data: dense, descriptor: described(0, 0) });
        const check = (label: string, given: Given) =>
          results(lane, given).forEach((array, i) =>
            assertSameBits(`${label}, type ${dtype} on ${target}: result ${i}`, array, expected[i]!)
          );
        check("apart", { data: behind(2, apart), descriptor: described(GAP, 2) });
        for (const offsetBytes of [1, atPageEnd]) {
          Deno.writeFileSync(path, behind(offsetBytes, apart));
          using mapped = MappedFile.open(path);
          check(`mapped at ${offsetBytes}`, {
            data: null,
            descriptor: described(GAP, offsetBytes, mapped.handle),
          });
        }
      }
    }
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("a bias gives the same bits at a byte that is no multiple of its type's", () => {
  for (const dtype of [MEFT_F32, MEFT_BF16, MEFT_F16]) {
    const bias = bytesOf(dtype, normals(ROWS, 2), ROWS, 0),
      w = bytesOf(dtype, normals(ROWS * COLS, 1), COLS, 0);
    const matrix = { dtype, rows: ROWS, cols: COLS, rowStride: COLS, handle: 0n, offsetBytes: 0 };
    const descriptor = writeWeightParams(matrix);
    for (const target of machineTargets()) {
      using lane = new NativeContext({ target, threads: 2 });
      for (const tokens of WAYS) {
        const [y, moved] = [0, 2].map((offsetBytes) => {
          const out = new Float32Array(tokens * ROWS),
            vector = { ...matrix, rows: 1, cols: ROWS, rowStride: ROWS };
          const added = [behind(offsetBytes, bias), writeWeightParams({ ...vector, offsetBytes })] as const;
          const types = [tokens, MEFT_F32, MEFT_F32, MEFT_F32, 0] as const;
          calls.linearForward(lane, out, normals(tokens * COLS, 3), w, descriptor, ...added, ...types);
          return out;
        });
        assertSameBits(`y of type ${dtype} on ${target}`, moved!, y!);
      }
    }
  }
});

Deno.test("the kernel table reads a weight of a mapped file as one in memory", async () => {
  const path = await Deno.makeTempFile();
  const values = normals(5 * 7, 1).slice();
  await Deno.writeFile(path, new Uint8Array(values.buffer));
  try {
    using file = MappedFile.open(path);
    using k = nativeKernels();
    const shape = { name: "w", dtype: "f32", rows: 5, cols: 6, grad: null } as const;
    const inMemory = { ...shape, data: values.subarray(5), mapped: null };
    const inFile = { ...shape, data: null, mapped: { handle: file.handle, offsetBytes: 20 } };
    const x = normals(3 * 6, 2);
    const [a, b] = [k.floats(15), k.floats(15)];
    k.linearForward(a, x, inMemory, null, 3, false);
    k.linearForward(b, x, inFile, null, 3, false);
    assert.ok(a.some((value) => value !== 0));
    assertSameBits("y", b, a);
  } finally {
    await Deno.remove(path);
  }
});
