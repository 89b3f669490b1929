// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../../compare.ts";
import { ValidationError } from "../../../lib/core/errors.ts";
import { openForReading, readBytesAt, readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import { readFloatsInto, readTensor } from "../../../lib/tensor/read_tensor.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { withFolder } from "../../fixtures/folder.ts";

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
  [
    "claims a header one byte longer than the format allows",
    fileBytes("{}", 0, 100_000_001n),
    /header length is 100000001 bytes, more than the 100000000 allowed/,
  ],
  [
    "ends inside the longest header that the format allows",
    fileBytes("{}", 0, 100_000_000n),
    /truncated: the header needs 100000008 bytes/,
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
    "has one element too many for a double to count its bytes",
    fileBytes(`{"a":${F32(0, 4, [2 ** 51])}}`, 4),
    /shape \[2251799813685248\], whose size overflows/,
  ],
  [
    "has an offset beyond what a double holds exactly",
    fileBytes(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[9007199254740993,9007199254740993]}}`, 0),
    /data_offsets that are not two byte positions/,
  ],
  [
    "has a size beyond what a double holds exactly",
    fileBytes(`{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,4]}}`, 4),
    /shape that is not a list of sizes/,
  ],
  [
    "has a tensor that ends inside a byte",
    fileBytes(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 2),
    /shape \[3\], whose size overflows/,
  ],
  [
    "has more numbers than its tensors can need",
    fileBytes(`{"a":{"dtype":"U8","shape":[${"1,".repeat(1_600_001)}1],"data_offsets":[0,1]}}`, 1),
    /its header has more than 1600000 values/,
  ],
  ["has three offsets", fileBytes(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}`, 1), /not two/],
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

for (const [what, bytes, reason] of MALFORMED) {
  Deno.test(`readSafetensorsHeader() refuses a file that ${what}, naming it`, () =>
    withFolder((folder) => {
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
  withFolder((folder) => {
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
  withFolder((folder) => {
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
  withFolder((folder) => {
    const path = join(folder, "good.safetensors");
    const header = `{"__metadata__":{"note":"a \\"b\\": {,","x":"[1,2"},"none":${F32(0, 0, [0, 3])},` +
      `"one":${F32(0, 4, [])},"q\\"":${F32(4, 8, [1, 1])}}`;
    Deno.writeFileSync(path, fileBytes(header, 8));
    const file = readSafetensorsHeader(path);
    assert.deepEqual([...file.tensors.keys()], ["none", "one", 'q"']);
    assert.deepEqual(file.metadata, { note: 'a "b": {,', x: "[1,2" });
    assert.deepEqual(file.tensors.get('q"')?.offsetBytes, 8 + header.length + 4);
  }));

/** Bits of an element, as the format's own library has them. */
const BITS: Readonly<Record<string, number>> = {
  ...{ BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8 },
  ...{ F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32 },
  ...{ C64: 64, F64: 64, I64: 64, U64: 64 },
};

Deno.test("readSafetensorsHeader() knows how many bytes an element of every type has", () =>
  withFolder((folder) => {
    const path = join(folder, "types.safetensors");
    const header: Record<string, unknown> = {};
    let end = 0;
    for (const [dtype, bits] of Object.entries(BITS)) {
      // Two rows of four elements fill whole bytes in every type.
      header[dtype] = { dtype, shape: [2, 4], data_offsets: [end, end += bits] };
    }
    Deno.writeFileSync(path, fileBytes(JSON.stringify(header), end));
    const { tensors } = readSafetensorsHeader(path);
    assert.deepEqual(
      [...tensors.values()].map(({ name, bytes }) => [name, bytes]),
      Object.entries(BITS),
    );
  }));

Deno.test("readSafetensorsHeader() takes tensors in any order of their bytes, and empty ones anywhere", () =>
  withFolder((folder) => {
    const path = join(folder, "order.safetensors");
    const none = (at: number) => F32(at, at, [0]);
    const header = `{"c":${F32(8, 12)},"z":${none(4)},"a":${F32(0, 4)},"y":${none(0)},"b":${F32(4, 8)},"x":${
      none(12)
    }}`;
    Deno.writeFileSync(path, fileBytes(header, 12));
    const { tensors, headerBytes } = readSafetensorsHeader(path);
    assert.deepEqual([...tensors.keys()], ["c", "z", "a", "y", "b", "x"]);
    assert.equal(tensors.get("b")?.offsetBytes, headerBytes + 4);
  }));

Deno.test("readBytesAt() goes on where a read ended, and says where the file did", () => {
  const bytes = Uint8Array.from({ length: 20 }, (_, i) => i);
  let at = 0;
  const file = {
    seekSync: (offset: number) => at = offset,
    readSync(out: Uint8Array) {
      const piece = bytes.subarray(at, Math.min(at + 3, at + out.length));
      out.set(piece);
      at += piece.length;
      return piece.length === 0 ? null : piece.length;
    },
  } as unknown as Deno.FsFile;
  const out = new Uint8Array(11);
  readBytesAt(file, "short.safetensors", out, 7);
  assert.deepEqual([...out], [...bytes.subarray(7, 18)]);
  assert.throws(
    () => readBytesAt(file, "short.safetensors", out, 12),
    /short\.safetensors.*\n?.*it is truncated: 23 bytes expected, it ends after 20/,
  );
});

Deno.test("openForReading() names a file that is not there", () =>
  withFolder((folder) => {
    assert.throws(() => openForReading(join(folder, "none")), /none.*\n?.*the file does not exist/);
  }));

Deno.test("writeSafetensors() pads its header to 8 bytes, lays tensors in their order without gaps, and names no metadata", () =>
  withFolder(async (folder) => {
    const path = join(folder, "plain.safetensors");
    for (let length = 1; length <= 9; length++) {
      const name = "n".repeat(length);
      const tensors = [
        { name: `z${name}`, dtype: "u8", shape: [3], data: Uint8Array.of(1, 2, 3) },
        { name: `a${name}`, dtype: "f32", shape: [1], data: Float32Array.of(4) },
      ] as const;
      await writeSafetensors(path, tensors);
      const file = Deno.readFileSync(path);
      const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
      assert.equal(headerBytes % 8, 0);
      assert.deepEqual(JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes))), {
        [`z${name}`]: { dtype: "U8", shape: [3], data_offsets: [0, 3] },
        [`a${name}`]: { dtype: "F32", shape: [1], data_offsets: [3, 7] },
      });
      const header = new TextDecoder().decode(file.subarray(8, 8 + headerBytes));
      assert.match(header, /^\{.*\} {0,7}$/, "a brace at the first byte, less than 8 blanks at the end");
      assert.deepEqual([...file.subarray(8 + headerBytes)], [1, 2, 3, 0, 0, 0x80, 0x40]);
    }
  }));

Deno.test("writeSafetensors() then readTensor() gives every dtype bit for bit", () =>
  withFolder(async (folder) => {
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
  withFolder(async (folder) => {
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
  withFolder(async (folder) => {
    const path = join(folder, "floats.safetensors");
    await writeSafetensors(path, [
      { name: "f32", dtype: "f32", shape: [2], data: Float32Array.of(0.1, -2) },
      { name: "f64", dtype: "f64", shape: [2], data: Float64Array.of(0.1, 1e300) },
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
    assertSame(read("f64"), Float64Array.of(0.1, 1e300));
    const narrow = new Float32Array(2);
    readFloatsInto(narrow, tensors.get("f64")!);
    assertSame(narrow, Float32Array.of(0.1, Infinity));
    assertSame(read("bf16"), Float64Array.of(1, -3));
    assertSame(read("f16"), Float64Array.of(1, 2 ** -24));
    assert.throws(() => read("u8"), /"u8" of .* is u8, expected f32, f64, bf16 or f16/);
    assert.throws(() => read("f32", 3), /has 2 elements, expected 3/);
  }));

Deno.test("readTensor() names a file that shrank since its header was read", () =>
  withFolder(async (folder) => {
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
