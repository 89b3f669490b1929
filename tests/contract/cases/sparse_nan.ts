// SPDX-License-Identifier: Apache-2.0
/** Contract cases of the sparse adapter on what is no number: choices stay defined, and the token concerned shows it. */
import type { Gate, Scope, SparsePairs, SparseRouting } from "../../../lib/ops/kernels/rows.ts";
import type { KernelCase, Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";

const [TOKENS, HIDDEN, NEURONS, EXPERTS, ACTIVE, TOP_K] = [5, 19, 24, 6, 3, 4];

/** Where the NaN stands. */
interface Place {
  readonly label: string;
  readonly h: readonly number[];
  readonly gateWeight: readonly number[];
  readonly keys: readonly number[];
}

/** NaN as processors make it, with its sign or without: ordered by their bits, one would be largest, one least. */
const NANS = [0x7fc00000, 0xffc00000];

const PLACES: readonly Place[] = [
  { label: "one token", h: [2 * HIDDEN + 7], gateWeight: [], keys: [] },
  { label: "the router's row of expert 0", h: [], gateWeight: [3], keys: [] },
  {
    label: "all but two rows of the router",
    h: [],
    gateWeight: [0, 2, 3, 5].map((e) => e * HIDDEN + 1),
    keys: [],
  },
  { label: "a key of expert 1", h: [], gateWeight: [], keys: [(NEURONS / EXPERTS + 2) * HIDDEN] },
];

async function run(stage: Stage, gate: Gate, scope: Scope, place: Place, nan: number): Promise<Outputs> {
  const shape = {
    ...{ gate, scope, tokens: TOKENS, hidden: HIDDEN, neurons: NEURONS, experts: EXPERTS },
    ...{ activeExperts: ACTIVE, topK: TOP_K },
  };
  const withNan = (name: string, count: number, places: readonly number[]) => {
    const values = stage.hostNormal(name, count).slice();
    if (!(values instanceof Float32Array)) { for (const at of places) values[at] = NaN; }
    else {new Uint32Array(values.buffer, values.byteOffset, values.length).forEach((_, i, bits) => {
        if (places.includes(i)) bits[i] = nan;
      });}
    return stage.hostValues(values);
  };
  const h = withNan("h", TOKENS * HIDDEN, place.h);
  const gateWeight = withNan("gateWeight", EXPERTS * HIDDEN, place.gateWeight);
  const routing: SparseRouting = {
    logits: stage.hostOutput(TOKENS * EXPERTS),
    experts: stage.intOutput(TOKENS * ACTIVE),
    expertTokens: stage.intOutput(EXPERTS),
  };
  const room = TOKENS * NEURONS;
  const pairs: SparsePairs = {
    offsets: stage.intOutput(TOKENS + 1),
    neurons: stage.intOutput(room),
    dots: stage.hostOutput(room),
    scores: stage.hostOutput(room),
  };
  const y = stage.hostOutput(TOKENS * HIDDEN);
  const keys = stage.rowMatrixOf(withNan("keys", NEURONS * HIDDEN, place.keys), NEURONS, HIDDEN);
  const values = stage.rowMatrix("values", NEURONS, HIDDEN);
  const call = { shape, h, gateWeight, keys, values, routing, pairs };
  await stage.k.sparseRoute(call);
  await stage.k.sparseForward(y, call);
  const isNan = (t: number) => y.subarray(t * HIDDEN, (t + 1) * HIDDEN).every(Number.isNaN);
  return {
    experts: routing.experts,
    expertTokens: routing.expertTokens,
    nanTokens: Int32Array.from({ length: TOKENS }, (_, t) => Number(isNan(t))),
  };
}

/** Cases of this family. */
export const sparseNanCases: readonly KernelCase[] = (["raw", "none"] as const).flatMap((gate) =>
  (["token", "union"] as const).flatMap((scope) =>
    PLACES.flatMap((place) =>
      NANS.map((nan): KernelCase => ({
        name: `sparseRoute() and sparseForward() of ${gate} gate, ${scope} scope with NaN ${
          nan.toString(16)
        } in ${place.label}`,
        run: (stage) => run(stage, gate, scope, place, nan),
      }))
    )
  )
);
