// SPDX-License-Identifier: Apache-2.0
/**
 * Calls of attention in the form that fused kernels take, against the oracle. Emulated, plain loops stand for cuDNN: what is
 * proven is how its arrays are made and read. On a device the contract runs cuDNN itself, where it is installed.
 */
import assert from "node:assert/strict";
import { floatToBf16 } from "../../lib/core/half.ts";
import type { AttentionShape } from "../../lib/ops/kernels/model.ts";
import { cudaKernels } from "../../lib/ops/native/cuda_kernels.ts";
import { assertAgreesEverywhere } from "./agreement.ts";
import { deviceBackends } from "./backends.ts";
import { attentionCases } from "./cases/attention.ts";
import { openTestDevice } from "../cuda_library.ts";

const { backend } = openTestDevice();
const emulated = backend === "cuda-emulated";

/** Runs with a choice of attention, as a process does that was started with it. */
async function choosing<T>(choice: string, run: () => T | Promise<T>): Promise<T> {
  Deno.env.set("MEFT_ATTENTION", choice);
  try {
    return await run();
  } finally {
    Deno.env.delete("MEFT_ATTENTION");
  }
}

for (const test of attentionCases.filter(({ name }) => name.startsWith("attention"))) {
  Deno.test({
    name: `fused attention: ${test.name} agrees with the oracle`,
    ignore: !emulated,
    fn: () => choosing("fused", () => assertAgreesEverywhere(test, deviceBackends())),
  });
}

/** Bits of o, and of all gradients, of one span of random q, k and v. */
function outputBits(
  rows: number,
  { compute = "bf16", ...own }: Partial<AttentionShape> & { readonly compute?: "f32" | "bf16" },
): { o: Uint8Array; gradients: Uint8Array[] } {
  using k = cudaKernels({ compute, host: { threads: 1 }, blockBytes: 1 << 20 });
  const [heads, headDim] = [2, 8];
  const count = rows * heads * headDim;
  const activations = () => compute === "bf16" ? new Uint16Array(count) : new Float32Array(count);
  const random = (stream: number) => {
    const normal = new Float32Array(count);
    k.randomNormal(normal, 1, stream, 1);
    return compute === "bf16" ? Uint16Array.from(normal, floatToBf16) : normal;
  };
  const [o, lse] = [activations(), new Float32Array(rows * heads)];
  const shape: AttentionShape = {
    ...{ queryRows: rows, keyRows: rows, heads, kvHeads: heads, headDim },
    ...{ sees: "past", window: 0, scale: 1, softcap: 0 },
    ...own,
  };
  const [q, keys, v, dO] = [random(1), random(2), random(3), random(4)];
  const spans = Int32Array.of(0, rows, 0, rows);
  k.attentionForward(o, lse, q, keys, v, spans, shape);
  // Backward of one and the same o and lse, which tell nothing of how they were made.
  const [given, sums] = [random(5), new Float32Array(rows * heads).fill(3)];
  const [dq, dk, dv] = [activations(), activations(), activations()];
  k.attentionBackward(dq, dk, dv, dO, q, keys, v, given, sums, spans, shape);
  return { o: new Uint8Array(o.buffer), gradients: [dq, dk, dv].map(({ buffer }) => new Uint8Array(buffer)) };
}

/** Own kernels round probabilities, the fused ones here do not: other bits tell which of them ran. */
for (
  const [what, fuses, rows, own] of [
    ["a long span", true, 64, {}],
    ["a long span of which all is seen", true, 64, { sees: "all" }],
    ["a window of the past", true, 64, { window: 9 }],
    ["a window on both sides that hides nothing", true, 64, { sees: "all", window: 126 }],
    ["a window on both sides", false, 64, { sees: "all", window: 125 }],
    ["capped scores", false, 64, { softcap: 2 }],
    ["a span too short for a plan", false, 63, {}],
    ["products in f32", false, 64, { compute: "f32" }],
  ] as const
) {
  Deno.test({
    name: `MEFT_ATTENTION=fused ${fuses ? "takes" : "leaves to the own kernels"} ${what}, in both directions`,
    ignore: !emulated,
    fn: async () => {
      const fused = await choosing("fused", () => outputBits(rows, own));
      const plain = await choosing("own", () => outputBits(rows, own));
      const same = (a: Uint8Array, b: Uint8Array) => a.every((byte, i) => byte === b[i]);
      assert.equal(same(fused.o, plain.o), !fuses, "forward");
      assert.ok(
        fused.gradients.every((x, i) => same(x, plain.gradients[i] as Uint8Array) === !fuses),
        "backward",
      );
    },
  });
}

Deno.test("the device says which attention it has, and MEFT_ATTENTION is one of three", async () => {
  using k = cudaKernels({ host: { threads: 1 } });
  assert.match(k.device.facts().attention, /^own kernels: .+|^cuDNN 9\.\d+/);
  await choosing(
    "fused",
    () => emulated && assert.equal(k.device.facts().attention, "emulated fused kernels"),
  );
  await choosing("flash", () => {
    assert.throws(() => cudaKernels(), /MEFT_ATTENTION is "flash", expected auto, own or fused/);
  });
});
