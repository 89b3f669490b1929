// SPDX-License-Identifier: Apache-2.0
/** Contract cases of what the host makes of pairs that fired: their rows, their columns, the router's gradients. */
import type { FiredPairs, Gate } from "../../../lib/ops/kernels/rows.ts";
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";

const [TOKENS, NEURONS, EXPERTS] = [5, 12, 4];
/** Token 1 fires nothing, no token fires neurons 3 and 8; there is room for more pairs. */
const OFFSETS = Int32Array.of(0, 3, 3, 7, 8, 11);
const FIRED = [0, 4, 11, 1, 2, 9, 10, 4, 5, 6, 7];

function call(stage: Stage, gate: Gate): FiredPairs {
  const room = FIRED.length + 4;
  const sizes = { tokens: TOKENS, neurons: NEURONS, experts: EXPERTS, hidden: 1, activeExperts: 3, topK: 4 };
  return {
    shape: { gate, scope: "token", ...sizes },
    routing: {
      logits: stage.hostNormal("logits", TOKENS * EXPERTS, 2),
      experts: stage.intOutput(TOKENS * 3),
      expertTokens: stage.intOutput(EXPERTS),
    },
    pairs: {
      offsets: OFFSETS,
      neurons: Int32Array.from({ length: room }, (_, p) => FIRED[p] ?? 3), // what is behind them is not read
      dots: stage.hostNormal("dots", room),
      scores: stage.hostNormal("scores", room),
    },
    pairCount: FIRED.length,
  };
}

function gradients(stage: Stage, gate: Gate): Outputs {
  const [dscores, dlogits] = [
    stage.hostNormal("dscores", FIRED.length),
    stage.hostOutput(TOKENS * EXPERTS),
  ];
  stage.k.gateGradients(call(stage, gate), dscores, dlogits);
  return { dscores, dlogits };
}

/** Gate factors of a token by its logits. */
function factors(gate: Gate, logits: readonly number[]): number[] {
  if (gate === "none") return logits.map(() => 1);
  if (gate === "raw") return [...logits];
  if (gate === "sigmoid") return logits.map((g) => 1 / (1 + Math.exp(-g)));
  const total = logits.reduce((sum, g) => sum + Math.exp(g), 0);
  return logits.map((g) => Math.exp(g) / total);
}

/** Of products, themselves; of a logit, the terms of its sums. */
function gradientMagnitudes(stage: Stage, gate: Gate, oracle: Outputs): Outputs {
  const { routing, pairs } = call(stage, gate), dscores = stage.hostNormal("dscores", FIRED.length);
  const dlogits = new Float64Array(TOKENS * EXPERTS);
  for (let t = 0; t < TOKENS; t++) {
    const c = factors(gate, [...routing.logits.subarray(t * EXPERTS, (t + 1) * EXPERTS)]);
    const dc = c.map(() => 0);
    for (let p = OFFSETS[t] as number; p < (OFFSETS[t + 1] as number); p++) {
      const e = Math.floor((FIRED[p] as number) * EXPERTS / NEURONS);
      dc[e] = (dc[e] as number) + Math.abs((pairs.dots[p] as number) * (dscores[p] as number));
    }
    const mean = c.reduce((sum, factor, e) => sum + factor * (dc[e] as number), 0);
    c.forEach((factor, e) => {
      const [one, dg] = [dc[e] as number, t * EXPERTS + e];
      if (gate === "raw") dlogits[dg] = one;
      if (gate === "sigmoid") dlogits[dg] = factor * (1 - factor) * one;
      if (gate === "softmax") dlogits[dg] = factor * (one + mean);
    });
  }
  return { dscores: absolute(oracle.dscores as Float64Array), dlogits };
}

/** Cases of this family. */
export const firedCases: readonly KernelCase[] = [
  {
    name: "firedRows() names each row that fired once, and pairColumns() the columns of those that have one",
    run(stage) {
      const fired = call(stage, "raw");
      const [held, columns] = [Int32Array.of(1, 4, 7, 11), Int32Array.of(3, 0, 9, 2)];
      return { rows: stage.k.firedRows(fired), columns: stage.k.pairColumns(fired, held, columns) };
    },
  },
  {
    name: "firedRows() and pairColumns() of no pairs",
    run(stage) {
      const none = { ...call(stage, "raw"), pairCount: 0 };
      const columns = stage.k.pairColumns(none, Int32Array.of(1), Int32Array.of(0));
      return { rows: stage.k.firedRows(none), columns };
    },
  },
  ...(["raw", "softmax", "sigmoid", "none"] as const).map((gate): KernelCase => ({
    name: `gateGradients() of a ${gate} gate`,
    run: (stage) => gradients(stage, gate),
    magnitudes: (stage, oracle) => gradientMagnitudes(stage, gate, oracle),
  })),
];
