// SPDX-License-Identifier: Apache-2.0
/** Where the libraries are looked for, and how their texts are read. */
import assert from "node:assert/strict";
import { decodeText, libraryPath, readEnv, readText } from "../../lib/native/library.ts";

const NAMES = ["MEFT_LIB", "MEFT_CUDA_LIBRARY"] as const;

/** With other variables, which are put back. */
function withEnv(values: Readonly<Record<string, string | null>>, body: () => void): void {
  const before = Object.keys(values).map((name) => [name, Deno.env.get(name)] as const);
  const put = (name: string, value: string | null | undefined) =>
    value == null ? Deno.env.delete(name) : Deno.env.set(name, value);
  for (const [name, value] of Object.entries(values)) put(name, value);
  try {
    body();
  } finally {
    for (const [name, value] of before) put(name, value);
  }
}

Deno.test("libraryPath() is what the environment names, each library by its own variable, else the build folder's", () => {
  withEnv({ MEFT_LIB: "/a/cpu.so", MEFT_CUDA_LIBRARY: "/b/cuda.so" }, () => {
    assert.equal(libraryPath(), "/a/cpu.so");
    assert.equal(libraryPath("cuda"), "/b/cuda.so");
  });
  for (const empty of [null, ""]) {
    withEnv(Object.fromEntries(NAMES.map((name) => [name, empty])), () => {
      assert.match(libraryPath(), /\/build\/cpu\/libmeft\.so$/);
      assert.match(libraryPath("cuda"), /\/build\/cpu\/libmeft_cuda\.so$/);
    });
  }
});

Deno.test("readEnv() takes an empty variable, and one that may not be read, for none", () => {
  withEnv({ MEFT_LIB: "x" }, () => assert.equal(readEnv("MEFT_LIB"), "x"));
  withEnv({ MEFT_LIB: "" }, () => assert.equal(readEnv("MEFT_LIB"), undefined));
  withEnv({ MEFT_LIB: null }, () => assert.equal(readEnv("MEFT_LIB"), undefined));
});

Deno.test({
  name: "readEnv() takes a variable that may not be read for none",
  permissions: { env: ["HOME"] },
  fn: () => assert.equal(readEnv("MEFT_LIB"), undefined),
});

/** A function of the library that has this text, its end included. */
function textOf(text: string) {
  const bytes = new TextEncoder().encode(`${text}\0`);
  const asked: bigint[] = [];
  const write = (out: Uint8Array<ArrayBuffer>, room: bigint): bigint => {
    assert.equal(room, BigInt(out.length));
    asked.push(room);
    const count = Math.min(bytes.length, out.length);
    out.set(bytes.subarray(0, count));
    out[count - 1] = 0;
    return BigInt(bytes.length);
  };
  return { asked, write };
}

Deno.test("readText() asks once for what fits 512 bytes, and once more for all of a longer text", () => {
  for (
    const [length, room] of [[0, [512n]], [511, [512n]], [512, [512n, 513n]], [5000, [512n, 5001n]]] as const
  ) {
    const text = "é".repeat(length >> 1) + "x".repeat(length & 1);
    const { asked, write } = textOf(text);
    assert.equal(readText(write), text);
    assert.deepEqual(asked, room);
  }
});

Deno.test("decodeText() ends at the first NUL, or with the bytes", () => {
  assert.equal(decodeText(Uint8Array.of(65, 66, 0, 67)), "AB");
  assert.equal(decodeText(Uint8Array.of(65, 66)), "AB");
  assert.equal(decodeText(Uint8Array.of(0)), "");
});
