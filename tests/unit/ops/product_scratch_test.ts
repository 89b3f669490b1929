// SPDX-License-Identifier: Apache-2.0
/**
 * Scratch of products on targets that this machine may not have: by hand, from the block sizes that `targets.def` has of them.
 * `tests/native/predict/scratch_test.ts` compares those of this machine with what the library takes.
 */
import assert from "node:assert/strict";
import { TARGET_FACTS } from "../../../lib/native/targets.ts";
import {
  narrowProductBytes,
  type ProductPlace,
  wideProductBytes,
} from "../../../lib/ops/counting/product_scratch.ts";

/** One thread of a target that multiplies bf16. */
function place(target: "avx512_bf16" | "avx512_amx"): ProductPlace {
  const { vectorLanes: lanes, panelColumns, rowBlock, depthBytes, inTiles } = TARGET_FACTS[target];
  const [compute, operandDType] = ["bf16", "bf16"] as const;
  return { threads: 1, compute, operandDType, lanes, panelColumns, rowBlock, depthBytes, inTiles };
}
const [REGISTERS, TILES] = [place("avx512_bf16"), place("avx512_amx")];

/** Pieces of nothing still take a line. */
const LINE = 64;

Deno.test("terms are cut after 2048 bytes in registers, after 8192 in tiles: so much of B is packed", () => {
  const product = { m: 64, n: 64, k: 9000, copies: false };
  assert.equal(wideProductBytes(REGISTERS, product), LINE + 1024 * 64 * 2 + LINE);
  assert.equal(wideProductBytes(TILES, product), LINE + 4096 * 64 * 2 + LINE);
});

Deno.test("sums that are rounded have three blocks of rows: of 24 in registers, of 32 in tiles", () => {
  const product = { m: 300, n: 64, k: 100, copies: false, rounds: true };
  const packed = 100 * 64 * 2;
  assert.equal(wideProductBytes(REGISTERS, product), LINE + packed + 72 * 64 * 4);
  assert.equal(wideProductBytes(TILES, product), LINE + packed + 96 * 64 * 4);
});

Deno.test("few tokens have room for one block of rows and two of sums", () => {
  const [k, n] = [4096, 20];
  const width = 32; // whole vectors
  const bytes = (block: number) => k * width * 2 + block * (4096 + 32) * 2 + 2 * block * width * 4;
  assert.equal(narrowProductBytes(REGISTERS, { m: 1000, n, k }), bytes(24));
  assert.equal(narrowProductBytes(TILES, { m: 1000, n, k }), bytes(32));
});

Deno.test("rows that crowd a set of L1 are copied for tiles, with a line beside each, where enough columns share that", () => {
  const [m, k] = [100, 1024];
  const product = { m, n: 512, k, copies: false };
  const packed = k * 256 * 2;
  const copied = m * (k + 32) * 2;
  assert.equal(wideProductBytes(REGISTERS, product), LINE + packed + LINE);
  assert.equal(wideProductBytes(TILES, product), copied + packed + LINE);
  for (const other of [{ n: 448 }, { k: 1000 }]) {
    const without = { ...product, ...other };
    assert.equal(wideProductBytes(TILES, without), wideProductBytes({ ...TILES, inTiles: false }, without));
  }
  // Sums of many terms are not rounded between copies.
  const long = { ...product, m: 1056, k: 8192, rounds: true };
  assert.equal(wideProductBytes(TILES, long), wideProductBytes({ ...TILES, inTiles: false }, long));
  const floats: ProductPlace = { ...TILES, compute: "f32", operandDType: "f32" };
  assert.equal(wideProductBytes(floats, product), wideProductBytes({ ...floats, inTiles: false }, product));
});
