// SPDX-License-Identifier: Apache-2.0
/** The one pool of the process: lanes of fewer threads than it has, and what is told to each of their tasks. */
import { sparseRoute } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { writeSparseParams } from "../../lib/native/structs.ts";
import { withCheckedWorkspace } from "../checked_workspace.ts";
import { assertSameBits } from "../compare.ts";
import { normals } from "../fixtures/normals.ts";

Deno.test("a lane of two threads has room for two, and no third of a larger pool takes its tasks", () => {
  // Each thread ranks the experts of its tokens in scratch of its own: a third one's would lie past the end.
  const [tokens, hidden, experts] = [320, 4, 8];
  const params = writeSparseParams({
    ...{ gate: 0, scope: 0, compute: 0, tokens, hidden, neurons: experts, experts, activeExperts: 3 },
    ...{ topK: 1, pairCapacity: 0 },
  });
  const [h, gateWeight] = [normals(tokens * hidden, 1), normals(experts * hidden, 2)];
  const chosen = new Int32Array(tokens * 3);
  const route = (lane: NativeContext): void => {
    sparseRoute(
      lane,
      new Float32Array(tokens * experts),
      chosen,
      new Int32Array(experts),
      h,
      gateWeight,
      params,
    );
  };
  using many = new NativeContext({ threads: 6 });
  using few = withCheckedWorkspace(() => new NativeContext({ threads: 2 }));
  route(many);
  const expected = chosen.slice();
  for (let i = 0; i < 2000; i++) {
    route(many); // its workers still look for work when the next region opens
    chosen.fill(-1);
    route(few);
  }
  assertSameBits("experts", chosen, expected);
});
