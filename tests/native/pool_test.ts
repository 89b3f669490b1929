// SPDX-License-Identifier: Apache-2.0
/** The one pool of the process: lanes of fewer threads than it has, and what is told to each of their tasks. */
import { linearForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { MEFT_BF16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { withCheckedWorkspace } from "../checked_workspace.ts";
import { assertSameBits } from "../compare.ts";
import { normals } from "./kernel_check.ts";
import { testWeight } from "./linear_check.ts";

Deno.test("a lane of two threads has room for two, and no third of a larger pool takes its tasks", () => {
  // Each thread packs columns of the weight into room of its own: a third one's would lie past the end.
  const [tokens, rows, cols] = [48, 512, 96];
  const w = testWeight(MEFT_BF16, rows, cols, 1), x = normals(tokens * cols, 2);
  const product = (lane: NativeContext): Float32Array => {
    const y = new Float32Array(tokens * rows);
    linearForward(lane, y, x, w.data, w.descriptor, null, null, tokens, MEFT_F32, MEFT_F32, MEFT_BF16, 0);
    return y;
  };
  using many = new NativeContext({ threads: 6 });
  using few = withCheckedWorkspace(() => new NativeContext({ threads: 2 }));
  const expected = product(many);
  for (let i = 0; i < 100; i++) {
    product(many); // its workers still look for work when the next region opens
    assertSameBits("y", product(few), expected);
  }
});
