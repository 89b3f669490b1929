// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../../compare.ts";
import { ValidationError } from "../../../lib/core/errors.ts";
import { readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import { readFloatsInto, readTensor } from "../../../lib/tensor/read_tensor.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";

/** A file with this header text (its true length unless told) and so many data bytes. */
function fileBytes(header: string, dataBytes: number, headerLength?: bigint): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const F32 = (begin: number, end: number, shape: readonly number[] = [(end - begin) / 4]): string =>
  JSON.stringify({ dtype: "F32", shape, data_offsets: [begin, end] });

/** What is wrong with the file, and a part of the reason. */
const MALFORMED: readonly [what: string, bytes: Uint8Array<ArrayBuffer>, reason: RegExp][] = [
  ["is shorter than the header length", new Uint8Array(5), /truncated: 5 bytes, less than the 8/],
  [
    "ends inside the header",
    fileBytes("{}", 0, 100n),
    /truncated: the header needs 108 bytes, the file has 10/,
  ],
  [
    "claims a huge header",
    fileBytes("{}", 0, 2n ** 63n),
    /header length is 9223372036854775808 bytes, more than/,
  ],
  ["has a header that is not UTF-8", fileBytes("{}", 0).map((byte, i) => i === 8 ? 0xff : byte), /not UTF-8/],
  ["has a header that is not JSON", fileBytes(`{"a":`, 0), /header is not JSON/],
  ["has a header that is a list", fileBytes("[]", 0), /not a JSON object/],
  [
    "has metadata that is no strings",
    fileBytes(`{"__metadata__":{"a":1}}`, 0),
    /__metadata__ is not an object of strings/,
  ],
  [
    "names a tensor twice",
    fileBytes(`{"a":${F32(0, 4)},"a":${F32(0, 4)}}`, 4),
    /its header has the key "a" twice/,
  ],
  [
    "says twice what type a tensor has",
    fileBytes(`{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,2]}}`, 2),
    /its header has the key "a.dtype" twice/,
  ],
  [
    "names more tensors than any file has",
    fileBytes(`{${Array.from({ length: 100_002 }, (_, i) => `"${i}":3`).join(",")}}`, 0),
    /its header has more than 100001 keys/,
  ],
  [
    "has an unknown dtype",
    fileBytes(`{"a":{"dtype":"F33","shape":[],"data_offsets":[0,4]}}`, 4),
    /unknown dtype "F33"/,
  ],
  [
    "has a lower-case dtype",
    fileBytes(`{"a":{"dtype":"f32","shape":[],"data_offsets":[0,4]}}`, 4),
    /unknown dtype "f32"/,
  ],
  ["has a tensor that is no object", fileBytes(`{"a":3}`, 0), /"a" is not described by an object/],
  ["has a negative size", fileBytes(`{"a":${F32(0, 4, [-1])}}`, 4), /shape that is not a list of sizes/],
  ["has a fractional size", fileBytes(`{"a":${F32(0, 6, [1.5])}}`, 6), /shape that is not a list of sizes/],
  ["lacks offsets", fileBytes(`{"a":{"dtype":"F32","shape":[1]}}`, 4), /not two byte positions/],
  [
    "has offsets in the wrong order",
    fileBytes(`{"a":${F32(8, 4, [1])}}`, 8),
    /ends at byte 4, before it begins at 8/,
  ],
  ["has a shape that overflows", fileBytes(`{"a":${F32(0, 4, [2 ** 40, 2 ** 40])}}`, 4), /size overflows/],
  [
    "has offsets unlike dtype and shape",
    fileBytes(`{"a":${F32(0, 8, [3])}}`, 8),
    /needs 12 bytes, its offsets span 8/,
  ],
  [
    "has overlapping tensors",
    fileBytes(`{"a":${F32(0, 8)},"b":${F32(4, 12)}}`, 12),
    /"b" begins at data byte 4, inside tensor "a"/,
  ],
  ["has a gap", fileBytes(`{"a":${F32(0, 4)},"b":${F32(8, 12)}}`, 12), /4 unused bytes before tensor "b"/],
  [
    "has a gap at the start",
    fileBytes(`{"a":${F32(4, 8)}}`, 8),
    /4 unused bytes before tensor "a", after the header/,
  ],
  ["has offsets beyond its end", fileBytes(`{"a":${F32(0, 8)}}`, 4), /out of range/],
  ["has bytes after the last tensor", fileBytes(`{"a":${F32(0, 4)}}`, 7), /3 bytes follow after tensor "a"/],
];

async function inFolder(test: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const [what, bytes, reason] of MALFORMED) {
  Deno.test(`readSafetensorsHeader() refuses a file that ${what}, naming it`, () =>
    inFolder((folder) => {
      const path = join(folder, "bad.safetensors");
      Deno.writeFileSync(path, bytes);
      assert.throws(() => readSafetensorsHeader(path), (error: unknown) => {
        assert(error instanceof ValidationError);
        assert.match(error.message, reason);
        assert(error.message.includes(path));
        return true;
      });
    }));
}

Deno.test("readSafetensorsHeader() takes null for metadata and its values, and types that weights cannot have", () =>
  inFolder((folder) => {
    const path = join(folder, "good.safetensors");
    for (const metadata of ["null", `{"a":null,"b":"c"}`]) {
      const header = `{"__metadata__":${metadata},"f4":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]},` +
        `"c":{"dtype":"C64","shape":[1],"data_offsets":[3,11]},"e":{"dtype":"F8_E8M0","shape":[2],"data_offsets":[11,13]}}`;
      Deno.writeFileSync(path, fileBytes(header, 13));
      const file = readSafetensorsHeader(path);
      assert.deepEqual(file.metadata, metadata === "null" ? {} : { b: "c" });
      assert.deepEqual([...file.tensors.values()].map(({ dtype, bytes }) => [dtype, bytes]), [
        ["f4", 3],
        ["c64", 8],
        ["f8_e8m0", 2],
      ]);
    }
  }));

Deno.test("readSafetensorsHeader() lists all bad tensors of a file at once", () =>
  inFolder((folder) => {
    const path = join(folder, "bad.safetensors");
    Deno.writeFileSync(path, fileBytes(`{"a":3,"b":${F32(0, 8, [3])}}`, 8));
    assert.throws(
      () => readSafetensorsHeader(path),
      (error: unknown) => error instanceof ValidationError && error.problems.length === 2,
    );
  }));

Deno.test("readSafetensorsHeader() says that a file does not exist", () => {
  assert.throws(
    () => readSafetensorsHeader("nowhere.safetensors"),
    /nowhere\.safetensors.*\n.*does not exist/,
  );
});

Deno.test("readSafetensorsHeader() reads tensors of size 0, scalars, and keys inside nested values", () =>
  inFolder((folder) => {
    const path = join(folder, "good.safetensors");
    const header = `{"__metadata__":{"note":"a \\"b\\": {,","x":"[1,2"},"none":${F32(0, 0, [0, 3])},` +
      `"one":${F32(0, 4, [])},"q\\"":${F32(4, 8, [1, 1])}}`;
    Deno.writeFileSync(path, fileBytes(header, 8));
    const file = readSafetensorsHeader(path);
    assert.deepEqual([...file.tensors.keys()], ["none", "one", 'q"']);
    assert.deepEqual(file.metadata, { note: 'a "b": {,', x: "[1,2" });
    assert.deepEqual(file.tensors.get('q"')?.offsetBytes, 8 + header.length + 4);
  }));

Deno.test("writeSafetensors() then readTensor() gives every dtype bit for bit", () =>
  inFolder(async (folder) => {
    const path = join(folder, "all.safetensors");
    const tensors = [
      { name: "f64", dtype: "f64", shape: [1], data: Float64Array.of(Math.PI) },
      { name: "i64", dtype: "i64", shape: [2], data: BigInt64Array.of(-(2n ** 62n), 5n) },
      { name: "f32", dtype: "f32", shape: [1, 3], data: Float32Array.of(1.5, -0, Infinity) },
      { name: "i32", dtype: "i32", shape: [0], data: new Int32Array(0) },
      { name: "bf16", dtype: "bf16", shape: [3], data: Uint16Array.of(1, 2, 65535) },
      { name: "f16", dtype: "f16", shape: [1], data: Uint16Array.of(0x3c00) },
      { name: "i16", dtype: "i16", shape: [1], data: Int16Array.of(-7) },
      { name: "u16", dtype: "u16", shape: [1], data: Uint16Array.of(7) },
      { name: "u8", dtype: "u8", shape: [3], data: Uint8Array.of(1, 2, 3) },
    ] as const;
    await writeSafetensors(path, tensors, { format: "pt" });
    const file = readSafetensorsHeader(path);
    assert.deepEqual(file.metadata, { format: "pt" });
    assert.equal(file.headerBytes % 8, 0);
    for (const { name, dtype, shape, data } of tensors) {
      const entry = file.tensors.get(name);
      assert(entry !== undefined);
      assertSame(readTensor(entry, dtype, shape), data);
    }
    assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name), ["all.safetensors"]);
  }));

Deno.test("writeSafetensors() takes pieces, and refuses pieces that do not fill the shape, leaving the old file", () =>
  inFolder(async (folder) => {
    const path = join(folder, "pieces.safetensors");
    const pieces = (
      ...parts: Float32Array[]
    ) => ({ name: "a", dtype: "f32", shape: [3], data: () => parts } as const);
    await writeSafetensors(path, [pieces(Float32Array.of(1), Float32Array.of(2, 3))]);
    const before = Deno.readFileSync(path);
    await assert.rejects(
      writeSafetensors(path, [pieces(Float32Array.of(1))]),
      /"a" has 4 bytes, its shape \(3\) needs 12/,
    );
    await assert.rejects(writeSafetensors(path, [pieces(), pieces()]), /"a" is given twice/);
    assertSame(Deno.readFileSync(path), before);
    assert.deepEqual([...Deno.readDirSync(folder)].length, 1);
    const entry = readSafetensorsHeader(path).tensors.get("a");
    assert(entry !== undefined);
    assertSame(readTensor(entry, "f32"), Float32Array.of(1, 2, 3));
    assert.throws(() => readTensor(entry, "f64"), /"a" of .* is f32, expected f64/);
    assert.throws(() => readTensor(entry, "f32", [1, 3]), /has shape \(3\), expected \(1,3\)/);
  }));

Deno.test("readFloatsInto() widens bf16, f16 and f32 exactly, and refuses other types and sizes", () =>
  inFolder(async (folder) => {
    const path = join(folder, "floats.safetensors");
    await writeSafetensors(path, [
      { name: "f32", dtype: "f32", shape: [2], data: Float32Array.of(0.1, -2) },
      { name: "bf16", dtype: "bf16", shape: [2], data: Uint16Array.of(0x3f80, 0xc040) },
      { name: "f16", dtype: "f16", shape: [2], data: Uint16Array.of(0x3c00, 0x0001) },
      { name: "u8", dtype: "u8", shape: [2], data: Uint8Array.of(1, 2) },
    ]);
    const { tensors } = readSafetensorsHeader(path);
    const read = (name: string, count = 2): Float64Array => {
      const out = new Float64Array(count);
      const entry = tensors.get(name);
      assert(entry !== undefined);
      readFloatsInto(out, entry);
      return out;
    };
    assertSame(read("f32"), Float64Array.of(Math.fround(0.1), -2));
    assertSame(read("bf16"), Float64Array.of(1, -3));
    assertSame(read("f16"), Float64Array.of(1, 2 ** -24));
    assert.throws(() => read("u8"), /"u8" of .* is u8, expected f32, f64, bf16 or f16/);
    assert.throws(() => read("f32", 3), /has 2 elements, expected 3/);
  }));

Deno.test("readTensor() names a file that shrank since its header was read", () =>
  inFolder(async (folder) => {
    const path = join(folder, "shrunk.safetensors");
    await writeSafetensors(path, [{ name: "a", dtype: "f32", shape: [4], data: new Float32Array(4) }]);
    const entry = readSafetensorsHeader(path).tensors.get("a");
    assert(entry !== undefined);
    Deno.truncateSync(path, entry.offsetBytes + 5);
    assert.throws(() => readTensor(entry, "f32"), /shrunk\.safetensors.*\n.*truncated/);
  }));

Deno.test("readSafetensorsHeader() of a folder says that it cannot be read", async () => {
  const folder = await Deno.makeTempDir();
  assert.throws(() => readSafetensorsHeader(folder), ValidationError);
  await Deno.remove(folder);
});
