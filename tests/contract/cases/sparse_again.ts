// SPDX-License-Identifier: Apache-2.0
/** Contract cases of the sparse adapter where a choice was made before: of kept pairs, and of the neurons of a union. */
import assert from "node:assert/strict";
import type { Floats } from "../../../lib/tensor/tensor.ts";
import type { FiredPairs, SparseCall } from "../../../lib/ops/kernels/rows.ts";
import { assertSame, assertSameBits } from "../../compare.ts";
import type { KernelCase, Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { firedPairs, pairsOf, routedCall, type SparseCase } from "./sparse_case.ts";
import { sparseMagnitudes } from "./sparse_magnitudes.ts";

/** A forward and what it left. */
async function forward(stage: Stage, call: SparseCall): Promise<{ y: Floats; fired: FiredPairs }> {
  const { shape, routing } = call;
  const y = stage.hostOutput(shape.tokens * shape.hidden);
  const pairCount = await stage.k.sparseForward(y, call);
  return { y, fired: { shape, routing, pairs: firedPairs(call.pairs, pairCount), pairCount } };
}

/** Writes y from the pairs alone: the bits of the forward that left them. */
async function fromPairs(stage: Stage, call: SparseCall): Promise<Outputs> {
  const { y: wanted, fired: { shape, pairs } } = await forward(stage, call);
  const y = stage.hostOutput(wanted.length);
  await stage.k.sparseValues(y, { shape, values: call.values, pairs });
  assertSameBits("y of kept pairs", y, wanted);
  return { y };
}

/** What fires among some neurons, where nothing is chosen, with room for so many pairs. */
async function among(stage: Stage, call: SparseCall, united: Int32Array, room: number) {
  const { shape } = call;
  const pairs = pairsOf(stage, shape, room);
  const logits = stage.hostOutput(shape.tokens * shape.experts);
  const y = stage.hostOutput(shape.tokens * shape.hidden);
  const own = { ...call, pairs, routing: { ...call.routing, logits } };
  const count = await stage.k.sparseForwardAmong(y, own, united);
  return { count, logits, y, call: own, pairs: firedPairs(pairs, Math.min(count, room)) };
}

/** Of a union that another h chose; and of its own, which gives the bits of a forward. */
async function fromUnion(stage: Stage, call: SparseCall): Promise<Outputs> {
  const { shape: { tokens, hidden, neurons } } = call;
  const { y, fired } = await forward(stage, call);
  const { logits } = call.routing;
  const again = await among(stage, call, stage.k.firedRows(fired), fired.pairCount);
  assert.equal(again.count, fired.pairCount);
  assertSame({ ...again.pairs, y: again.y, logits: again.logits }, { ...fired.pairs, y, logits });
  const pairsAlone = await stage.k.sparseForwardAmong(null, again.call, stage.k.firedRows(fired));
  assert.equal(pairsAlone, fired.pairCount);

  const other = { ...call, h: stage.hostNormal("another h", tokens * hidden) };
  await stage.k.sparseRoute(other);
  const united = stage.k.firedRows((await forward(stage, other)).fired).filter((_, i) => i % 3 !== 1);
  const { count, pairs, ...rest } = await among(stage, call, united, tokens * neurons);
  if (count > 0) {
    const short = await among(stage, call, united, count - 1);
    assert.equal(short.count, count, "too little room is told");
  }
  return { ...pairs, y: rest.y, logits: rest.logits };
}

/** Nothing goes back here: the magnitudes of forward, of the pairs that there are. */
function magnitudesOf(stage: Stage, test: SparseCase, { neurons, offsets }: Outputs): Outputs {
  const slots = new Int32Array(test.shape.neurons);
  const { logits, dots, scores, y } = sparseMagnitudes(stage, test, {
    neurons: neurons as Int32Array,
    offsets: offsets as Int32Array,
    slots,
    rows: new Int32Array(1),
  });
  return { logits: logits!, dots: dots!, scores: scores!, y: y! };
}

/** A case for the contract. */
export const sparseAgainCase = (test: SparseCase): KernelCase => {
  const isUnion = test.shape.scope === "union";
  return {
    name: `${isUnion ? "sparseForwardAmong()" : "sparseValues()"} choose nothing: ${test.label}`,
    run: async (stage) => {
      const call = await routedCall(stage, test);
      return await (isUnion ? fromUnion(stage, call) : fromPairs(stage, call));
    },
    magnitudes: async (stage, oracle) => {
      if (isUnion) return magnitudesOf(stage, test, oracle);
      const { fired } = await forward(stage, await routedCall(stage, test));
      return { y: magnitudesOf(stage, test, fired.pairs as unknown as Outputs).y! };
    },
  };
};
