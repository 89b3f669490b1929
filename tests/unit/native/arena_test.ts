// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { Arena } from "../../../lib/native/arena.ts";
import { createLedger } from "../../../lib/native/ledger.ts";
import { assertSame } from "../../compare.ts";

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
  assertSame(arena.drop(), [large.buffer]);
  assert.equal(arena.bytes, 64);
  assert.equal(kept.length, 8);
  assert.equal(ledger.held.get("activations"), arena.bytes);
  assert.equal(arena.usedBytes, arena.bytes);
});

Deno.test("Arena aligns every kind of array to 64 bytes, and nothing overlaps", () => {
  const arena = new Arena(createLedger(), 1 << 12);
  const arrays = [
    arena.i32(3),
    arena.bf16(5),
    arena.f64(9),
    arena.f32(16),
    arena.f32(17),
    arena.i32(0),
    arena.f32(1),
  ];
  const ends = arrays.map(({ byteOffset, byteLength }) => [byteOffset, byteOffset + byteLength] as const);
  assert.deepEqual(ends.map(([begin]) => begin % 64), ends.map(() => 0));
  ends.forEach(([begin], i) => assert.ok(i === 0 || begin >= ends[i - 1]![1], `${ends}`));
  assert.deepEqual(arrays.map(({ length }) => length), [3, 5, 9, 16, 17, 0, 1]);
  assert.equal(new Set(arrays.map(({ buffer }) => buffer)).size, 1);
  // Each takes what its elements need, to the next multiple of 64 bytes.
  for (const [kind, bytes] of [["f64", 8], ["f32", 4], ["i32", 4], ["bf16", 2]] as const) {
    for (const [count, taken] of [[64 / bytes, 64], [64 / bytes + 1, 128], [0, 0]] as const) {
      const before = arena.usedBytes;
      assert.equal(arena[kind](count).BYTES_PER_ELEMENT, bytes);
      assert.equal(arena.usedBytes - before, taken, `${count} of ${kind}`);
    }
  }
});

Deno.test("Arena fills a block to its last byte, and gives a larger request a block of its own size", () => {
  const sizes: number[] = [];
  const create = (bytes: number): ArrayBuffer => {
    sizes.push(bytes);
    return new ArrayBuffer(bytes);
  };
  const arena = new Arena(createLedger(), 1024, create);
  arena.f32(256);
  assert.deepEqual(sizes, [1024]);
  arena.f32(1);
  assert.deepEqual(sizes, [1024, 1024]);
  arena.f32(257);
  assert.deepEqual(sizes, [1024, 1024, 1088]);
  assert.equal(arena.blockBytes, 1024);
});

Deno.test("takePeak() is the most that was in use at one time in blocks of its own, since the last call", () => {
  const arena = new Arena(createLedger(), 1024);
  const lent = new Float32Array(64);
  const empty = arena.mark();
  arena.lend(lent);
  arena.f32(64); // lent: not its own
  assert.equal(arena.takePeak(), 0);
  arena.f32(32);
  const mark = arena.mark();
  arena.f32(16);
  arena.f32(256); // another block
  arena.release(mark);
  arena.f32(16);
  assert.equal(arena.takePeak(), 128 + 64 + 1024);
  assert.equal(arena.takePeak(), 0, "only what is taken from then on");
  arena.f32(16);
  assert.equal(arena.takePeak(), 128 + 64 + 64);
  arena.release(empty);
  assert.equal(arena.usedBytes, 0);
});

Deno.test("Arena accounts each byte once over all its blocks, however often it is used again", () => {
  const ledger = createLedger();
  const arena = new Arena(ledger, 256);
  const mark = arena.mark();
  for (let turn = 0; turn < 3; turn++) {
    arena.f32(48);
    arena.f32(64);
    arena.f32(16);
    assert.equal(arena.usedBytes, 192 + 256 + 64);
    assert.equal(arena.bytes, 192 + 256 + 64);
    arena.release(mark);
  }
  assert.equal(ledger.held.get("activations"), 512);
  assert.equal(ledger.peak.get("activations"), 512);
  assert.equal(arena.drop().length, 2);
  assert.equal(ledger.held.get("activations"), 0);
  // What begins in memory that was used before and ends beyond it.
  arena.f32(48);
  arena.release(mark);
  arena.f32(32);
  arena.f32(32);
  assert.equal(ledger.held.get("activations"), 256);
});

Deno.test("Arena passes over a loan that alignment leaves nothing of, and takes back those within a memory alone", () => {
  const arena = new Arena(createLedger(), 1024);
  const memory = new ArrayBuffer(1024);
  const empty = arena.mark();
  arena.lend(new Uint8Array(memory, 1, 63)); // ends where it would begin
  arena.lend(new Uint8Array(memory, 128, 128));
  arena.lend(new Uint8Array(memory, 256, 128));
  const [first, second, own] = [arena.f32(32), arena.f32(32), arena.f32(32)];
  assert.deepEqual([first.byteOffset, second.byteOffset], [128, 256]);
  assert.notEqual(own.buffer, memory);
  arena.release(empty);
  arena.takeBack(new Uint8Array(memory, 128, 128));
  const again = arena.f32(32);
  assertSame([again.buffer, again.byteOffset], [memory, 256]);
  assert.throws(() => arena.takeBack(new Uint8Array(memory, 256, 128)), /in use/);
  arena.takeBack(new Uint8Array(memory, 384, 128)); // begins where the loan ends
  arena.release(empty);
  arena.takeBack();
  assert.notEqual(arena.f32(32).buffer, memory);
});

Deno.test("release() gives back loans that came after the mark, too", () => {
  const arena = new Arena(createLedger(), 1024);
  const before = arena.mark();
  const lent = new Float32Array(64);
  arena.lend(lent);
  arena.f32(16);
  arena.release(before);
  assert.equal(arena.usedBytes, 0);
  arena.takeBack(lent);
});
