// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of couplings: two streams in the place of one. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const MODELS_WIRING: readonly Mutant[] = [
  {
    name: "streams-never-switched",
    harm: "every second layer of a coupled model reads the wrong stream",
    file: "lib/models/wiring/coupled.ts",
    find: "switched && place % 2 === 1 ? 1 : 0",
    replace: "switched && place % 2 === 2 ? 1 : 0",
    tests: ["tests/unit/models/wiring/coupled_test.ts"],
  },
  {
    name: "frozen-layers-stop-gradients",
    harm: "tokens, and an encoder, that are trained below frozen layers get gradients that went around these",
    file: "lib/models/engine/gradient_pass.ts",
    find: "  if (!isWantedBelow) return await onStreams(",
    replace: "  if (below.length >= 0) return await onStreams(",
    tests: ["tests/contract/wiring_test.ts"],
  },
  {
    name: "overflow-unheard",
    harm: "a value without room in its stream trains on as zero",
    file: "lib/models/wiring/coupled.ts",
    find: "andThen(accounts.check(coupling.seen), () => combination.combine(y))",
    replace: "andThen(undefined, () => combination.combine(y))",
    tests: ["tests/unit/models/wiring/coupled_test.ts"],
  },
  {
    name: "mean-of-gradients-doubled",
    harm: "the gradient of the mean of two streams is twice what it should be",
    file: "lib/models/wiring/top.ts",
    find: "        k.scale(of(d, model).data, 0.5);\n",
    replace: "        k.scale(of(d, model).data, 1);\n",
    tests: ["tests/unit/models/wiring/published_test.ts"],
  },
  {
    name: "alone-without-its-norm",
    harm: "the function that stands alone passes gradients around its norm",
    file: "lib/models/sublayers/alone.ts",
    find: "      if (dh !== null) normBackward(k, residuals, NORM, dh, { addTo: dx });",
    replace: "      if (dh !== null) k.add(dx.data, dh.data);",
    tests: ["tests/unit/models/wiring/coupled_test.ts"],
  },
  {
    name: "behind-without-gradient",
    harm: "what is behind attention changes its output, and attention is not told",
    file: "lib/models/sublayers/normed.ts",
    find: "const dy = behind ? await backwardBehind(step, layer, part, behind, dbranch) : dbranch;",
    replace: "if (behind) await backwardBehind(step, layer, part, behind, dbranch);\n  const dy = dbranch;",
    tests: ["tests/unit/models/wiring/coupled_test.ts"],
  },
  {
    name: "older-stream-undamped",
    harm: "a layer that is undone gives back the gradient of the older stream whole",
    file: "lib/models/wiring/coupled_step.ts",
    find: "k.scaledAdd(d2.data, beta, out.data);",
    replace: "k.add(d2.data, out.data);",
    tests: ["tests/unit/models/wiring/coupled_test.ts"],
  },
  {
    name: "experts-chosen-again",
    harm: "tokens of a layer that is undone go back through other experts than they came from",
    file: "lib/models/sublayers/experts.ts",
    find: "        again?.first.choice.chosen,\n",
    replace: "",
    tests: ["tests/unit/models/sublayers/experts_again_test.ts"],
  },
  {
    name: "sum-that-nobody-reads",
    harm: "the second function of a coupled layer is given whatever lay in memory",
    file: "lib/models/wiring/streams.ts",
    find: ", ...(view && { view }) };",
    replace: " };",
    tests: ["tests/unit/models/wiring/coupled_test.ts"],
  },
];
