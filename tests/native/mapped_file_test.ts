// SPDX-License-Identifier: Apache-2.0
/** Mapped files: reading, weights inside them, and every way they can be wrong. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { NativeError } from "../../lib/core/errors.ts";
import * as calls from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { createLedger } from "../../lib/native/ledger.ts";
import { MappedFile } from "../../lib/native/mapped_file.ts";
import { writeNormParams, writeWeightParams } from "../../lib/native/structs.ts";
import * as constants from "../../lib/native/symbols.ts";
import { MEFT_F32 } from "../../lib/native/symbols.ts";

async function withFile(
  bytes: Uint8Array<ArrayBuffer>,
  test: (path: string) => void | Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile({ prefix: "meft ü " });
  try {
    await Deno.writeFile(path, bytes);
    await test(path);
  } finally {
    await Deno.remove(path);
  }
}

function weightIn(file: MappedFile, offsetBytes: number, cols: number): Uint8Array<ArrayBuffer> {
  const { handle } = file;
  return writeWeightParams({
    dtype: constants.MEFT_F32,
    rows: 1,
    cols,
    rowStride: cols,
    handle,
    offsetBytes,
  });
}

/** y = 1/sqrt(mean(x^2)) * w for x of ones: reads the weight. */
function readWeight(lane: NativeContext, descriptor: Uint8Array<ArrayBuffer>, cols: number): Float32Array {
  const y = new Float32Array(cols);
  const params = { rows: 1, yDtype: MEFT_F32, xDtype: MEFT_F32, accumulate: 0 };
  calls.normForward(
    lane,
    y,
    new Float32Array(1),
    new Float32Array(cols).fill(1),
    null,
    descriptor,
    null,
    null,
    writeNormParams({ ...params, kind: constants.MEFT_NORM_RMS, eps: 0, unitOffset: 0 }),
  );
  return y;
}

Deno.test("MappedFile.read() gives the bytes of the file, also none and the last", async () => {
  await withFile(Uint8Array.of(1, 2, 3, 4, 5), (path) => {
    using file = MappedFile.open(path);
    assert.deepEqual([file.path, file.bytes], [path, 5]);
    assertSame(file.read(0, 5), Uint8Array.of(1, 2, 3, 4, 5));
    assertSame(file.read(4, 1), Uint8Array.of(5));
    assertSame(file.read(5, 0), new Uint8Array(0));
  });
});

Deno.test("MappedFile.read() refuses a range that leaves the file, naming both", async () => {
  await withFile(new Uint8Array(10), (path) => {
    using file = MappedFile.open(path);
    for (const [offset, count] of [[0, 11], [10, 1], [11, 0], [2, 9]] as const) {
      assert.throws(() => file.read(offset, count), {
        name: "NativeError",
        message: `map_read: bytes ${offset} to ${offset + count} leave a mapped file of 10 bytes`,
      });
    }
    assert.throws(() => file.read(-1, 1), NativeError);
  });
});

Deno.test("MappedFile.open() opens an empty file and refuses what is no file, naming the path and the reason", async () => {
  await withFile(new Uint8Array(0), (path) => {
    using file = MappedFile.open(path);
    assert.equal(file.bytes, 0);
    assertSame(file.read(0, 0), new Uint8Array(0));
  });
  assert.throws(() => MappedFile.open("/nowhere/model.safetensors"), {
    message: "map_open: cannot open /nowhere/model.safetensors: No such file or directory",
  });
  const folder = await Deno.makeTempDir();
  try {
    assert.throws(() => MappedFile.open(folder), {
      message: `map_open: cannot map ${folder}: it is not a regular file`,
    });
  } finally {
    await Deno.remove(folder);
  }
  assert.throws(() => MappedFile.open("a\0b"), { name: "RangeError" });
});

Deno.test("a weight in a mapped file is read where it lies", async () => {
  const values = Float32Array.of(9, 9, 1.5, -2, 0.25);
  await withFile(new Uint8Array(values.buffer), (path) => {
    using file = MappedFile.open(path);
    using lane = new NativeContext();
    assertSame(readWeight(lane, weightIn(file, 8, 3), 3), values.subarray(2));
    assert.throws(
      () => readWeight(lane, weightIn(file, 12, 3), 3),
      /bytes 12 to 24 leave a mapped file of 20 bytes/,
    );
  });
});

Deno.test("a handle of a closed file is an error on use, and is not given again", async () => {
  await withFile(new Uint8Array(64), (path) => {
    using lane = new NativeContext();
    const file = MappedFile.open(path);
    const descriptor = weightIn(file, 0, 4);
    file[Symbol.dispose]();
    file[Symbol.dispose]();
    using next = MappedFile.open(path);
    assert.notEqual(next.handle, file.handle);
    assert.throws(
      () => readWeight(lane, descriptor, 4),
      new RegExp(`handle ${file.handle} names no mapped file`),
    );
    assert.throws(() => file.read(0, 1), /names no mapped file/);
    assert.throws(() => calls.mapClose(lane, 123456789n), /map_close: handle 123456789 names no mapped file/);
  });
});

Deno.test("a file cut short while it is mapped is an error, not a crash", async () => {
  await withFile(new Uint8Array(100_000).fill(7), async (path) => {
    using lane = new NativeContext();
    using file = MappedFile.open(path);
    const descriptor = weightIn(file, 80_000, 100);
    readWeight(lane, descriptor, 100);
    await Deno.truncate(path, 4096);
    const cut = /was cut from 100000 to 4096 bytes while in use/;
    assert.throws(() => readWeight(lane, descriptor, 100), cut);
    assert.throws(() => file.read(0, 5000), cut);
    assert.throws(() => file.read(0, 4096), cut, "also where its bytes are still there");
  });
});

Deno.test("the ledger counts a mapped file while it is open, and the process its bytes", async () => {
  await withFile(new Uint8Array(1000), (path) => {
    using lane = new NativeContext();
    const ledger = createLedger();
    const before = lane.info().mappedBytes;
    const file = MappedFile.open(path, ledger);
    assert.equal(ledger.held.get("weights"), 1000);
    assert.equal(lane.info().mappedBytes, before + 1000);
    file[Symbol.dispose]();
    assert.equal(ledger.held.get("weights"), 0);
    assert.equal(lane.info().mappedBytes, before);
  });
});
