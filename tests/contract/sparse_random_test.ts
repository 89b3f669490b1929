// SPDX-License-Identifier: Apache-2.0
/** The sparse kernels on random shapes and modes: what nobody thought of. */
import * as fc from "fast-check";
import type { Gate, Scope } from "../../lib/ops/kernels/rows.ts";
import { assertAgreesEverywhere } from "./agreement.ts";
import { sparseCase, sparseKernelCase } from "./cases/sparse_case.ts";

const cases = fc.integer({ min: 1, max: 12 }).chain((experts) =>
  fc.record({
    tokens: fc.integer({ min: 0, max: 40 }),
    hidden: fc.integer({ min: 1, max: 70 }),
    perExpert: fc.integer({ min: 1, max: 18 }),
    experts: fc.constant(experts),
    activeExperts: fc.integer({ min: 1, max: experts }),
    topK: fc.integer({ min: 1, max: 40 }),
    gate: fc.constantFrom<Gate>("raw", "softmax", "sigmoid", "none"),
    scope: fc.constantFrom<Scope>("token", "union"),
    frozenKeys: fc.boolean(),
  })
);

Deno.test("the sparse kernels agree with the oracle on random shapes and modes", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (random) => {
      const { tokens, hidden, perExpert, experts, activeExperts, topK, ...options } = random;
      const sizes = [tokens, hidden, perExpert * experts, experts, activeExperts, topK] as const;
      await assertAgreesEverywhere(sparseKernelCase(sparseCase("random", sizes, options)));
    }),
    { seed: 2406, numRuns: 40 },
  );
});
