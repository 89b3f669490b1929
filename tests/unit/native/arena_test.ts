// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { Arena } from "../../../lib/native/arena.ts";
import { createLedger } from "../../../lib/native/ledger.ts";

Deno.test("Arena gives back what was taken since a mark, and hands it out again", () => {
  const arena = new Arena(createLedger(), 1024);
  const first = arena.f32(16);
  const mark = arena.mark();
  const second = arena.f32(16);
  arena.release(mark);
  const third = arena.f32(16);
  assert.equal(third.byteOffset, second.byteOffset);
  assert.equal(third.buffer, second.buffer);
  assert.notEqual(third.byteOffset, first.byteOffset);
});

Deno.test("Arena fills the gap that a large request leaves in an earlier block", () => {
  const arena = new Arena(createLedger(), 1024);
  const small = arena.f32(16); // 64 bytes of the first block
  const large = arena.f32(250); // 1000 bytes: a second block
  const filler = arena.f32(16);
  assert.notEqual(large.buffer, small.buffer);
  assert.equal(filler.buffer, small.buffer);
});

Deno.test("Arena accounts the bytes that were ever touched, not the size of its blocks", () => {
  const ledger = createLedger();
  const arena = new Arena(ledger, 1 << 20);
  const mark = arena.mark();
  arena.f32(1000); // 4000 bytes, rounded to 4032
  arena.release(mark);
  arena.f32(100);
  assert.equal(ledger.held.get("activations"), 4032);
  assert.equal(arena.bytes, 4032);
  assert.equal(arena.usedBytes, 448);
});

Deno.test("Arena takes lent memory first, aligned, and none of it once it is taken back", () => {
  const ledger = createLedger();
  const arena = new Arena(ledger, 1024);
  const gradients = new Float32Array(new ArrayBuffer(512), 4, 100);
  const before = arena.mark();
  arena.lend(gradients);
  const inside = arena.f32(16);
  assert.equal(inside.buffer, gradients.buffer);
  assert.equal(inside.byteOffset, 64);
  assert.ok(inside.byteOffset + inside.byteLength <= gradients.byteOffset + gradients.byteLength);
  const tooLarge = arena.f32(100);
  assert.notEqual(tooLarge.buffer, gradients.buffer);
  assert.throws(() => arena.takeBack(gradients), /in use/);
  arena.release(before);
  arena.takeBack(gradients);
  assert.notEqual(arena.f32(16).buffer, gradients.buffer);
  assert.equal(ledger.held.get("activations"), 448, "lent bytes are not the arena's");
});

Deno.test("Arena passes over memory that was never lent to it when that is taken back", () => {
  const arena = new Arena(createLedger(), 1024);
  const [lent, other] = [new Float32Array(64), new Float32Array(64)];
  arena.lend(lent);
  arena.f32(16);
  arena.takeBack(other);
  assert.throws(() => arena.takeBack(), /in use/);
});

Deno.test("drop() gives up blocks in which nothing is in use, and the ledger forgets them", () => {
  const ledger = createLedger();
  const arena = new Arena(ledger, 1024);
  const kept = arena.f32(8);
  const mark = arena.mark();
  const large = arena.f32(1000);
  assert.deepEqual(arena.drop(), []);
  arena.release(mark);
  assert.deepEqual(arena.drop(), [large.buffer]);
  assert.equal(arena.bytes, 64);
  assert.equal(kept.length, 8);
  assert.equal(ledger.held.get("activations"), arena.bytes);
  assert.equal(arena.usedBytes, arena.bytes);
});
