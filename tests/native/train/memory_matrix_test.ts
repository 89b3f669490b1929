// SPDX-License-Identifier: Apache-2.0
/** Bytes that are predicted and bytes that are then taken, over shapes, methods, rows, lengths and types. */
import { ok, strictEqual } from "node:assert/strict";
import { full, lora, type Method, parallel, sparse } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { type Bytes, type MemoryCase, memoryOf } from "../../fixtures/memory_cases.ts";

/** Of what is taken. */
const BOUND = 0.1;
/** What a run takes for its method; the mapped weights are the file's bytes whatever it does. */
const CLASSES = ["parameters", "optimizer", "gradients", "activations", "workspace"] as const;
/** Of these every byte is predicted. */
const EXACT = ["weights", "parameters", "optimizer", "gradients"] as const;

const SMALL = { hidden: 64, layers: 2, heads: 4, kvHeads: 4, inner: 176, vocabulary: 1000 };
const NARROW_DEEP = { ...SMALL, layers: 10 };
const WIDE = { hidden: 384, layers: 1, heads: 6, kvHeads: 6, inner: 1536, vocabulary: 1000 };
const GROUPED = { hidden: 128, layers: 2, heads: 8, kvHeads: 1, inner: 352, vocabulary: 2000 };
const WORDY = { ...SMALL, vocabulary: 32000 };
const ONE_LAYER = { ...SMALL, layers: 1 };
/** Attention is most of what it does. */
const ATTENTIVE = { hidden: 256, layers: 1, heads: 8, kvHeads: 1, inner: 64, vocabulary: 256 };

const rows = (size: number, micro: number, seqLen: number) => ({ size, micro, seqLen, packing: false });
const packed = (size: number, micro: number, seqLen: number) => ({ size, micro, seqLen, packing: true });
const same = (count: number, length: number): number[] => Array(count).fill(length);
const mixed = (count: number, from: number, to: number): number[] =>
  Array.from({ length: count }, (_, i) => from + (i * 37) % (to - from));

const tokens = (neurons: number): Method => sparse({ neurons });
const union = (neurons: number): Method => sparse({ neurons, scope: "union" });

const BASE = {
  model: SMALL,
  dtype: "bf16",
  method: tokens(1024),
  batch: rows(4, 2, 128),
  lengths: same(16, 120),
} as const;

const CASES: Readonly<Record<string, Partial<MemoryCase>>> = {
  // Shapes.
  "sparse": {},
  "sparse, narrow and deep": { model: NARROW_DEEP },
  "sparse, wide": { model: WIDE },
  "sparse, one head of keys": { model: GROUPED },
  "sparse, a large vocabulary": { model: WORDY },
  "sparse, a tied head": { model: WORDY, config: { tie_word_embeddings: true } },
  "LoRA, narrow and deep": { method: lora(), model: NARROW_DEEP, batch: rows(4, 4, 128) },
  "LoRA, wide": { method: lora(), model: WIDE, batch: rows(4, 4, 128) },
  "LoRA, one head of keys": { method: lora(), model: GROUPED, batch: rows(4, 4, 128) },
  "LoRA, a large vocabulary, f32": { method: lora(), model: WORDY, dtype: "f32" },
  "full, one head of keys": { method: full(), model: GROUPED },
  "full, a tied head": { method: full(), model: WORDY, config: { tie_word_embeddings: true } },
  "parallel, wide": { method: parallel({ neurons: 512 }), model: WIDE },
  // Types, threads and what backward remembers.
  "sparse in f32": { dtype: "f32" },
  "sparse, recomputed": { model: NARROW_DEEP, activations: "recompute" },
  "sparse, two threads": { threads: 2 },
  "LoRA, recomputed": { method: lora(), model: NARROW_DEEP, activations: "recompute" },
  "LoRA, two threads": { method: lora(), threads: 2 },
  "LoRA in f32, sixteen threads": { method: lora(), dtype: "f32", threads: 16 },
  "sparse, sixteen threads": { threads: 16 },
  "full in f32, recomputed": { method: full(), dtype: "f32", activations: "recompute", model: NARROW_DEEP },
  "parallel in f32, two threads": { method: parallel({ neurons: 512 }), dtype: "f32", threads: 2 },
  // Packing.
  "sparse, packed": { batch: packed(4, 2, 256), lengths: mixed(80, 16, 120) },
  "LoRA, packed": { method: lora(), batch: packed(4, 4, 256), lengths: mixed(80, 16, 120) },
  "LoRA in f32, packed": {
    method: lora(),
    dtype: "f32",
    batch: packed(4, 2, 256),
    lengths: mixed(80, 16, 120),
  },
  "parallel, packed": {
    method: parallel({ neurons: 512 }),
    batch: packed(2, 1, 256),
    lengths: mixed(40, 16, 120),
  },
  "full, packed": { method: full(), batch: packed(2, 2, 256), lengths: mixed(40, 16, 120) },
  "sparse union, packed": { method: union(1024), batch: packed(2, 2, 256), lengths: mixed(40, 16, 120) },
  "sparse union in f32, packed": {
    method: union(1024),
    dtype: "f32",
    batch: packed(2, 1, 256),
    lengths: mixed(40, 16, 120),
  },
  // Scope union.
  "sparse union": { method: union(1024) },
  "sparse union, sigmoid": { method: sparse({ neurons: 2048, scope: "union", gate: "sigmoid" }) },
  "sparse union, softmax, two threads": {
    method: sparse({ neurons: 1024, scope: "union", gate: "softmax" }),
    threads: 2,
  },
  "sparse union, few experts": {
    method: sparse({ neurons: 1024, experts: 8, activeExperts: 2, scope: "union" }),
  },
  "sparse union, deep, recomputed": {
    method: union(512),
    model: NARROW_DEEP,
    activations: "recompute",
    batch: rows(2, 1, 128),
  },
  // Lengths.
  "sparse, short rows": { batch: rows(16, 8, 256), lengths: same(64, 32) },
  "LoRA, short rows where long ones are allowed": {
    method: lora(),
    batch: rows(16, 8, 1024),
    lengths: mixed(64, 20, 44),
  },
  "LoRA, one long sequence": {
    method: lora(),
    model: ONE_LAYER,
    batch: rows(1, 1, 4096),
    lengths: same(2, 4096),
  },
  "LoRA in f32, one long sequence": {
    method: lora(),
    model: ATTENTIVE,
    dtype: "f32",
    batch: rows(1, 1, 2048),
    lengths: same(2, 2000),
  },
  "sparse, one long sequence, two threads": {
    model: ATTENTIVE,
    method: tokens(512),
    batch: rows(1, 1, 2048),
    lengths: same(2, 2048),
    threads: 2,
  },
  "parallel, one long row among short ones": {
    method: parallel({ neurons: 256 }),
    batch: rows(2, 1, 1024),
    lengths: [32, 40, 1000, 36, 48, 32],
    steps: 3,
  },
  "LoRA, lengths of every kind": {
    method: lora(),
    batch: rows(4, 2, 1024),
    lengths: [900, 32, 100, 50, 400, 32, 64, 700],
  },
  // Methods' choices.
  "sparse, neurons by the thousand": { method: sparse({ neurons: 8192, topK: 16 }) },
  "sparse, frozen keys": { method: sparse({ neurons: 1024, keys: "frozen" }) },
  "sparse, softmax": { method: sparse({ neurons: 1024, gate: "softmax" }) },
  "sparse, no gate, dense steps": {
    method: sparse({ neurons: 1024, gate: "none" }),
    optimizer: adamw({ mode: "dense" }),
  },
  "sparse, rows that step at once": { optimizer: adamw({ clip: null }), batch: rows(2, 2, 128) },
  "LoRA, ranks by pattern": {
    method: lora({ rank: 4, targets: ["q", "down"], rankPattern: { q: 64, down: 128 } }),
  },
  "LoRA, dropout, attention alone": { method: lora({ dropout: 0.1, targets: ["q", "v"] }), model: GROUPED },
  // More that a run takes.
  "sparse, evaluated on longer rows": { evalLengths: same(4, 128), lengths: same(16, 40) },
  "LoRA, evaluated": {
    method: lora(),
    batch: rows(4, 1, 512),
    lengths: same(8, 60),
    evalLengths: same(2, 500),
  },
  "LoRA, one row at a time": { method: lora(), batch: rows(4, 1, 128) },
  "sparse, rotary tables of two lengths": {
    config: {
      rope_scaling: {
        rope_type: "longrope",
        short_factor: Array(8).fill(1),
        long_factor: Array(8).fill(2),
        factor: 2,
        original_max_position_embeddings: 2048,
      },
      original_max_position_embeddings: 2048,
    },
    model: ONE_LAYER,
    method: lora(),
    batch: rows(1, 1, 4096),
    lengths: same(2, 2200),
  },
};

const sum = (bytes: Bytes): number => CLASSES.reduce((total, name) => total + (bytes[name] ?? 0), 0);
const kib = (bytes = 0): string => `${Math.round(bytes / 1024)} KiB`;

for (const [name, given] of Object.entries(CASES)) {
  Deno.test(`the bytes of a run are predicted within a tenth: ${name}`, () =>
    withFolder(async (folder) => {
      const { predicted: { bytes }, taken } = await memoryOf(folder, { name, ...BASE, ...given });
      const told = CLASSES.map((of) => `${of} ${kib(bytes[of])} predicted, ${kib(taken[of])} taken`).join(
        "; ",
      );
      for (const of of EXACT) strictEqual(bytes[of] ?? 0, taken[of] ?? 0, `${of}; ${told}`);
      const most = BOUND * sum(taken);
      ok(Math.abs(sum(bytes) - sum(taken)) <= most, told);
      for (const of of CLASSES) ok(Math.abs((bytes[of] ?? 0) - (taken[of] ?? 0)) <= most, `${of}: ${told}`);
    }));
}

Deno.test("there are forty runs at least, and none is there twice", () => {
  const all = Object.values(CASES).map((given) => JSON.stringify({ ...BASE, ...given }));
  ok(all.length >= 40 && new Set(all).size === all.length);
});
