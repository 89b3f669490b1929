// SPDX-License-Identifier: Apache-2.0
/** What is generated from the header is fresh, and the library shows the header's functions and nothing else. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { parseHeader } from "../../scripts/header.ts";
import { staleFiles } from "../../scripts/gen_symbols.ts";
import { buildInfo, libraryPath, openLibrary } from "../../lib/native/library.ts";
import { writeAttentionParams, writeSparseParams, writeWeightParams } from "../../lib/native/structs.ts";

const headerText = () => Deno.readTextFile(new URL("../../csrc/include/meft.h", import.meta.url));

Deno.test("the generated files are what the header gives: else run `deno task symbols`", async () => {
  assert.deepEqual(await staleFiles(), []);
});

async function exportsOf(path: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("nm", { args: ["-D", "--defined-only", path] }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  return lines.map((line) => line.split(" ").at(-1) ?? "").sort();
}

Deno.test("libmeft exports exactly the functions of the header", async () => {
  const declared = parseHeader(await headerText()).prototypes.map((prototype) => prototype.name);
  assert.deepEqual(await exportsOf(libraryPath()), declared.toSorted());
});

Deno.test({
  name: "libmeft_onednn exports its one function",
  ignore: !buildInfo(openLibrary()).gemm.includes("onednn"),
  async fn() {
    const path = libraryPath().replace("libmeft.so", "libmeft_onednn.so");
    assert.deepEqual(await exportsOf(path), ["meft_onednn_multiply"]);
  },
});

Deno.test("parseHeader() reads functions, structs and constants", () => {
  const header = parseHeader(`
#define MEFT_ONE 1
    typedef struct meft_p { uint32_t struct_size; int32_t a; /* of; b */ int64_t b; } meft_p;
/* Slow. @nonblocking */
MEFT_API meft_status meft_f(meft_ctx *ctx, const float *x, const meft_p *params);
MEFT_API void meft_g(void);
  `);
  assert.equal(header.constants.get("MEFT_ONE"), 1);
  assert.deepEqual(header.structs[0]?.fields.map(({ name, offset }) => [name, offset]), [
    ["struct_size", 0],
    ["a", 4],
    ["b", 8],
  ]);
  assert.deepEqual(header.prototypes.map(({ name, nonblocking }) => [name, nonblocking]), [
    ["meft_f", true],
    ["meft_g", false],
  ]);
  assert.deepEqual(header.prototypes[0]?.parameters.map(({ type }) => type), [
    "meft_ctx*",
    "float*",
    "meft_p*",
  ]);
});

Deno.test("parseHeader() refuses structs whose layout is left to the compiler, naming the field", () => {
  const struct = (fields: string) => () => parseHeader(`typedef struct meft_p { ${fields} } meft_p;`);
  assert.throws(struct("uint32_t struct_size; int64_t b;"), /Field b of meft_p needs explicit padding/);
  assert.throws(struct("uint32_t struct_size;"), /meft_p has 4 bytes, expected a multiple of 8/);
  assert.throws(struct("int32_t a; int32_t b;"), /meft_p does not begin with struct_size/);
  assert.throws(struct("uint32_t struct_size; char *name;"), /Cannot read field "char \*name" of meft_p/);
  assert.throws(() => parseHeader("MEFT_API int broken"), /Read 0 of 1 MEFT_API declarations/);
});

Deno.test("struct writers put each field where C reads it", () => {
  const weight = writeWeightParams({
    dtype: 1,
    rows: 2,
    cols: 3,
    rowStride: 4,
    handle: 2n ** 60n,
    offsetBytes: 6,
  });
  assertSame(new Uint32Array(weight.buffer, 0, 2), Uint32Array.of(48, 1));
  assertSame(new BigInt64Array(weight.buffer, 8), BigInt64Array.of(2n, 3n, 4n, 2n ** 60n, 6n));
  const attention = {
    compute: 1,
    qRows: 1,
    kRows: 2,
    heads: 3,
    kvHeads: 4,
    headDim: 5,
    window: 6,
    spanCount: 7,
    scale: 0.5,
    softcap: 0.25,
    sees: 8,
  };
  const view = new DataView(writeAttentionParams(attention).buffer);
  assert.equal(view.getInt32(4, true), 1);
  assert.equal(view.getFloat32(64, true), 0.5);
  assert.equal(view.getFloat32(68, true), 0.25);
  assert.equal(view.getInt32(72, true), 8);
  assert.equal(view.getInt32(76, true), 0); // reserved
  assert.throws(() => writeAttentionParams({ ...attention, heads: 1.5 }), { message: /^heads is 1.5/ });
  assert.throws(() => writeAttentionParams({ ...attention, scale: NaN }), { message: /^scale is NaN/ });
  const sizes = { tokens: 1, hidden: 1, neurons: 1, experts: 1, activeExperts: 1, topK: 1, pairCapacity: 1 };
  assert.throws(
    () => writeSparseParams({ gate: 2 ** 31, scope: 0, compute: 0, ...sizes }),
    /^RangeError: gate is/,
  );
});
