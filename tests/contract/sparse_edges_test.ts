// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter at its edges: room for pairs, factors of 0 and below, planes that a product does not read. */
import assert from "node:assert/strict";
import type { RowMatrix } from "../../lib/tensor/tensor.ts";
import { assertSame, assertSameBits } from "../compare.ts";
import { onEveryBackend } from "./agreement.ts";
import { backends, deviceRowBackends } from "./backends.ts";
import { pairsOf, routedCall, sparseCase } from "./cases/sparse_case.ts";

const EVERYWHERE = [...backends(), ...deviceRowBackends()];

for (const scope of ["token", "union"] as const) {
  Deno.test(`sparseForward() says how many pairs there are when they do not fit, and then fills exactly that room: ${scope} scope`, () =>
    onEveryBackend(
      async (stage) => {
        const call = await routedCall(
          stage,
          sparseCase("room", [40, 37, 24, 4, 2, 3], { scope, ties: true }),
        );
        const forward = async (room: number) => {
          const [y, pairs] = [stage.hostOutput(40 * 37), pairsOf(stage, call.shape, room)];
          return { y, ...pairs, needed: await stage.k.sparseForward(y, { ...call, pairs }) };
        };
        const whole = await forward(40 * 24);
        for (const room of [0, 5, whole.needed - 1]) {
          const { y, needed } = await forward(room);
          assert.equal(needed, whole.needed);
          assert.ok(y.every(Number.isNaN), `y was touched, with room for ${room}`);
        }
        const exact = await forward(whole.needed);
        for (const name of ["neurons", "dots", "scores"] as const) {
          assertSameBits(name, exact[name], whole[name].subarray(0, whole.needed));
        }
        assertSame([exact.y, exact.offsets], [whole.y, whole.offsets]);
        return { y: exact.y, neurons: exact.neurons, dots: exact.dots, scores: exact.scores };
      },
      undefined,
      EVERYWHERE,
    ));
}

Deno.test("sparseForward() fires nothing for an expert with a logit of 0, and the opposite keys for a negative one", () => {
  const [tokens, hidden, neurons, experts] = [7, 37, 24, 4];
  return onEveryBackend(async (stage) => {
    const test = sparseCase("factors", [tokens, hidden, neurons, experts, experts, neurons]);
    const drawn = await routedCall(stage, test);
    const call = { ...drawn, gateWeight: drawn.gateWeight.fill(0, 0, hidden) };
    await stage.k.sparseRoute(call);
    const count = await stage.k.sparseForward(stage.hostOutput(tokens * hidden), call);
    const { neurons: fired, dots } = call.pairs;
    const [own, offsets] = [fired.subarray(0, count), call.pairs.offsets];
    return { logits: call.routing.logits, offsets, fired: own, dots: dots.subarray(0, count) };
  }, ({ logits, offsets, fired, dots }) => {
    let opposite = 0;
    for (let t = 0; t < tokens; t++) {
      for (let p = offsets![t] as number; p < (offsets![t + 1] as number); p++) {
        const expert = Math.floor(fired![p] as number * experts / neurons);
        const logit = logits![t * experts + expert] as number;
        assert.ok(expert > 0, "expert 0 has a factor of 0");
        assert.equal(Math.sign(dots![p] as number), Math.sign(logit), `pair ${p}`);
        if (logit < 0) opposite++;
      }
    }
    assert.ok(opposite > 0, "negative factors select negative dots");
  }, EVERYWHERE);
});

/** Numbers that need all bits of an f32. */
function sines(count: number, from: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => Math.sin(from + i));
}

/** The same rows without what completes their high halves. */
function withoutLowHalves(matrix: RowMatrix): RowMatrix {
  assert.ok(matrix.lo.some((half) => half !== 0));
  return { ...matrix, lo: new Int16Array(matrix.lo.length) };
}

Deno.test("products in f32 read both planes of rows, products in bf16 only the high one", async () => {
  for (const compute of ["f32", "bf16"] as const) {
    await onEveryBackend(async (stage) => {
      const call = await routedCall(stage, sparseCase("planes", [7, 37, 24, 4, 2, 3]));
      const [keys, values] = [1, 2].map((from) => stage.rowMatrixOf(sines(24 * 37, from), 24, 37)) as [
        RowMatrix,
        RowMatrix,
      ];
      const forward = async (rows: Pick<typeof call, "keys" | "values">) => {
        const y = stage.hostOutput(7 * 37);
        await stage.k.sparseForward(y, { ...call, ...rows });
        return y;
      };
      return {
        y: await forward({ keys, values }),
        ofHighKeys: await forward({ keys: withoutLowHalves(keys), values }),
        ofHighValues: await forward({ keys, values: withoutLowHalves(values) }),
      };
    }, ({ y, ...cut }) => {
      for (const [name, other] of Object.entries(cut)) {
        if (compute === "bf16") assertSameBits(name, other, y!);
        else assert.ok(other.some((value, i) => value !== y![i]), `${name}: the low plane is not read`);
      }
    }, EVERYWHERE.filter((backend) => backend.compute === compute));
  }
});
