// SPDX-License-Identifier: Apache-2.0
/** The losses of 20 steps here and in PyTorch, which computed its own once: `deno task parity` does so anew, for 50. */
import assert from "node:assert/strict";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { LOSS_BOUND } from "../../../scripts/parity/verdicts.ts";
import { largestRelativeDifference, trainHere } from "../../../scripts/parity/training.ts";
import { assertWithin } from "../../compare.ts";
import { PARITY_CASES } from "../../fixtures/parity_cases.ts";
import { smallData, smallModel } from "../../unit/train/small_run.ts";

const EXPECTED: Readonly<Record<string, readonly number[]>> = JSON.parse(
  Deno.readTextFileSync(new URL("../../fixtures/parity/losses.json", import.meta.url)),
);

Deno.test("the stored losses of PyTorch are those of the cases there are", () => {
  assert.deepEqual(Object.keys(EXPECTED), PARITY_CASES.map(({ name }) => name));
});

Deno.test("the bound on losses tells apart runs that differ in weight decay alone", () => {
  const [plain = [], decayed = []] = [EXPECTED["sparse"], EXPECTED["sparse, dense AdamW"]];
  assert.ok(largestRelativeDifference(plain, decayed) > 3 * LOSS_BOUND);
});

for (const parityCase of PARITY_CASES) {
  Deno.test(`trainStep() gives PyTorch's losses in f32: ${parityCase.name}`, async () => {
    using kernels = nativeKernels({ compute: "f32" });
    using model = smallModel(kernels);
    const expected = EXPECTED[parityCase.name] ?? [];
    const { losses } = await trainHere(model, smallData(), parityCase, null);
    assert.equal(expected.length, parityCase.steps);
    assertWithin("losses", losses, expected, expected.map((loss) => LOSS_BOUND * loss));
    assert.ok(
      (losses.at(-1) as number) < (losses[0] as number) - 0.1,
      "the loss falls, so that steps matter",
    );
  });
}
