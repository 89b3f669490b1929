// SPDX-License-Identifier: Apache-2.0
/**
 * Calls of attention in the form that fused kernels take, against the oracle. Emulated, plain loops stand for cuDNN: what is
 * proven is how its arrays are made and read. On a device the contract runs cuDNN itself, where it is installed.
 */
import assert from "node:assert/strict";
import { floatToBf16 } from "../../lib/core/half.ts";
import { cudaKernels } from "../../lib/ops/native/cuda_kernels.ts";
import { assertAgreesEverywhere } from "../contract/agreement.ts";
import { deviceBackends } from "../contract/backends.ts";
import { attentionCases } from "../contract/cases/attention.ts";
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

/** Bits of o, and of all gradients, of one causal span of random q, k and v. */
function outputBits(rows: number, compute: "f32" | "bf16"): { o: Uint8Array; gradients: Uint8Array[] } {
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
  const shape = {
    ...{ queryRows: rows, keyRows: rows, heads, kvHeads: heads, headDim },
    ...{ sees: "past" as const, window: 0, scale: 1, softcap: 0 },
  };
  const [q, keys, v, dO, spans] = [
    random(1),
    random(2),
    random(3),
    random(4),
    Int32Array.of(0, rows, 0, rows),
  ];
  k.attentionForward(o, lse, q, keys, v, spans, shape);
  // Backward of one and the same o and lse, which tell nothing of how they were made.
  const [given, sums] = [random(5), new Float32Array(rows * heads).fill(3)];
  const [dq, dk, dv] = [activations(), activations(), activations()];
  k.attentionBackward(dq, dk, dv, dO, q, keys, v, given, sums, spans, shape);
  return { o: new Uint8Array(o.buffer), gradients: [dq, dk, dv].map(({ buffer }) => new Uint8Array(buffer)) };
}

Deno.test({
  name:
    "MEFT_ATTENTION=fused takes long neighbouring spans in bf16 alone: elsewhere it leaves the own kernels' bits",
  ignore: !emulated,
  fn: async () => {
    const agree = async (rows: number, compute: "f32" | "bf16"): Promise<boolean> => {
      const fused = await choosing("fused", () => outputBits(rows, compute));
      const own = await choosing("own", () => outputBits(rows, compute));
      const same = (a: Uint8Array, b: Uint8Array) => a.every((byte, i) => byte === b[i]);
      const forward = same(fused.o, own.o);
      const backward = fused.gradients.every((gradient, i) => same(gradient, own.gradients[i] as Uint8Array));
      assert.equal(backward, forward, "both directions go one way");
      return forward;
    };
    assert.equal(
      await agree(64, "bf16"),
      false,
      "own kernels round probabilities, the fused ones here do not",
    );
    assert.equal(await agree(63, "bf16"), true, "too short for a plan");
    assert.equal(await agree(64, "f32"), true);
  },
});

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
