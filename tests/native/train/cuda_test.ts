// SPDX-License-Identifier: Apache-2.0
/** Training with the model on a device, emulated where there is none: the losses of PyTorch, whatever the method. */
import assert from "node:assert/strict";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { LOSS_BOUND } from "../../../scripts/parity/verdicts.ts";
import { trainHere } from "../../../scripts/parity/training.ts";
import { assertWithin } from "../../compare.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { PARITY_CASES } from "../../fixtures/parity_cases.ts";
import { smallData, smallModel } from "../../unit/train/small_run.ts";

const { backend } = openTestDevice();
const STEPS = 4;

for (const parityCase of PARITY_CASES) {
  Deno.test(`trainStep() on ${backend} gives the losses of the CPU in f32: ${parityCase.name}`, async () => {
    const short = { ...parityCase, steps: STEPS };
    using onDevice = cudaKernels({ compute: "f32", blockBytes: 1 << 20 });
    using model = smallModel(onDevice);
    const { losses } = await trainHere(model, smallData(), short, null);
    using cpu = nativeKernels({ compute: "f32" });
    using same = smallModel(cpu);
    const expected = await trainHere(same, smallData(), short, null);
    assert.equal(losses.length, STEPS);
    assertWithin("losses", losses, expected.losses, expected.losses.map((loss) => LOSS_BOUND * loss));
  });
}
