// SPDX-License-Identifier: Apache-2.0
/** Contract cases of the sparse adapter: every mode, odd sizes, ties, sizes that cross every block. */
import type { Gate, Scope } from "../../../lib/ops/kernels/rows.ts";
import type { KernelCase } from "../kernel_case.ts";
import { sparseAgainCase } from "./sparse_again.ts";
import { twoCallsCase } from "./sparse_calls.ts";
import { type SparseCase, sparseCase, sparseKernelCase, type SparseSizes } from "./sparse_case.ts";
import { sparseStepCase } from "./sparse_step.ts";

const GATES: readonly Gate[] = ["raw", "softmax", "sigmoid", "none"];
const SCOPES: readonly Scope[] = ["token", "union"];

const CASES: readonly SparseCase[] = [
  ...GATES.flatMap((gate) =>
    SCOPES.flatMap((scope) => [
      sparseCase("odd sizes", [7, 19, 24, 6, 2, 3], { gate, scope }),
      sparseCase("ties", [9, 5, 12, 4, 2, 3], {
        gate: gate === "softmax" ? "none" : gate,
        scope,
        ties: true,
      }),
      sparseCase("no tokens", [0, 3, 6, 3, 1, 2], { gate, scope }),
    ])
  ).filter((test, i, all) => all.findIndex(({ label }) => label === test.label) === i),
  sparseCase("one token, one neuron, one column", [1, 1, 1, 1, 1, 1]),
  sparseCase("one token", [1, 9, 12, 3, 1, 2]),
  sparseCase("primes", [11, 13, 35, 7, 3, 5]),
  sparseCase("K beyond the candidates", [6, 16, 12, 6, 2, 50]),
  sparseCase("K = R and N = 1", [5, 17, 23, 1, 1, 23], { gate: "none" }),
  sparseCase("all experts active", [6, 9, 20, 5, 5, 4], { gate: "softmax" }),
  sparseCase("one neuron an expert", [8, 12, 31, 31, 8, 4]),
  sparseCase("one expert taking all", [200, 12, 24, 4, 1, 3], { oneExpert: true }),
  ...GATES.flatMap((gate) => [
    sparseCase("frozen keys", [7, 19, 24, 6, 2, 3], { frozenKeys: true, gate }),
    sparseCase("frozen router", [7, 19, 24, 6, 2, 3], { frozenRouter: true, gate }),
  ]),
  sparseCase("many tokens", [150, 33, 96, 12, 3, 7]),
  sparseCase("many tokens", [90, 33, 96, 12, 3, 7], { gate: "softmax", scope: "union" }),
  sparseCase("wide rows", [21, 307, 64, 8, 2, 9], { gate: "sigmoid" }),
];

/** At the edges of a processor's vectors, and of its blocks of tokens (192), neurons (256) and columns (512 and 1024). */
const EDGES: readonly SparseSizes[] = [
  [7, 37, 24, 4, 2, 3],
  [1, 1, 1, 1, 1, 1],
  [7, 37, 24, 1, 1, 24],
  [7, 37, 24, 4, 3, 100],
  [7, 37, 24, 4, 4, 5],
  [7, 37, 24, 24, 5, 2],
  [230, 9, 21, 3, 1, 4],
  [17, 16, 300, 1, 1, 70],
  [18, 33, 1040, 2, 1, 17],
  [20, 1100, 40, 5, 2, 6],
];

/** Whole numbers, so that sums of any order are exact, and which pairs fire is certain however many scores tie. */
export const sparseEdgeCases: readonly KernelCase[] = (["raw", "none"] as const).flatMap((gate) =>
  SCOPES.flatMap((scope) =>
    EDGES.filter(([tokens]) => scope === "token" || tokens <= 20)
      .map((sizes) => sparseKernelCase(sparseCase(`ties of ${sizes}`, sizes, { gate, scope, ties: true })))
  )
);

/**
 * What scores round, and routing and the way back do not. Of rows on the host beside a device that is the host's choice:
 * these are for kernels whose products are of the type that they were asked for.
 */
export const sparseRoundingCases: readonly KernelCase[] = GATES.flatMap((gate) =>
  SCOPES.map((scope) =>
    sparseKernelCase(
      sparseCase("rounded scores", [19, 37, 60, 6, 2, 8], { gate, scope, roundsInputs: true }),
    )
  )
);

/** Cases of this family. */
export const sparseCases: readonly KernelCase[] = [
  ...CASES.map(sparseKernelCase),
  twoCallsCase([
    sparseCase("3 tokens", [3, 37, 24, 4, 2, 3]),
    sparseCase("3 tokens, then 9", [9, 37, 24, 4, 2, 3]),
  ]),
  ...CASES.map(sparseStepCase),
  ...CASES.filter(({ frozenKeys, oneExpert }) => !frozenKeys && !oneExpert).map(sparseAgainCase),
];
