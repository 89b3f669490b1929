// SPDX-License-Identifier: Apache-2.0
/** A step that fails on a device, where the router is a copy: taken again, it has the bits of a run in which nothing failed. */
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import type { PlacementChoice } from "../../../lib/train/placement.ts";
import { assertSameBits } from "../../compare.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { type Call, firstAndLast, threeSteps } from "../../fixtures/failed_steps.ts";

const { backend } = openTestDevice();

async function onDevice(way: PlacementChoice, fails: readonly (readonly [Call, number])[]) {
  using k = cudaKernels({ compute: "f32", blockBytes: 1 << 20 });
  return await threeSteps(k, way, fails);
}

Deno.test(`a step that failed on ${backend} and is taken again has the bits of one that did not`, async () => {
  const way = { placement: "device", cachedRows: 4 } as const;
  const whole = await onDevice(way, []);
  const fails = firstAndLast(whole.counts);
  // Last of all at the end of the step, where slots and the router's copy are full of gradients.
  const end = ["rowsAdd", whole.counts.rowsAdd - 1] as const;
  const { bytes } = await onDevice(way, [...fails, end]);
  for (const [i, [name, expected]] of whole.bytes.entries()) assertSameBits(name, bytes[i]![1], expected);
});
