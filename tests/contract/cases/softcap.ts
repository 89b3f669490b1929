// SPDX-License-Identifier: Apache-2.0
/** Contract cases of logits that a hyperbolic tangent bounds, alone and within the loss. */
import type { KernelCase, Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { outputMagnitudes } from "./storage.ts";

const CAP = 3;

function softcap(stage: Stage, count: number, std: number): Outputs {
  const x = stage.normal("x", count, std);
  stage.k.softcap(x, CAP);
  return { x };
}

function targetsOf(tokens: number, vocabulary: number): Int32Array {
  return Int32Array.from({ length: tokens }, (_, t) => t % 3 === 1 ? -1 : t * 7 % vocabulary);
}

function loss(stage: Stage, tokens: number, vocabulary: number, scale: number, std: number): Outputs {
  const [loss, logits] = [stage.output(tokens), stage.normal("logits", tokens * vocabulary, std)];
  stage.k.crossEntropy(loss, logits, targetsOf(tokens, vocabulary), vocabulary, scale, CAP);
  return scale === 0 ? { loss } : { loss, logits };
}

/** As of logits within the cap: p carries a relative error in proportion to them; what it is multiplied by is at most 1. */
function lossMagnitudes(
  stage: Stage,
  tokens: number,
  vocabulary: number,
  scale: number,
  std: number,
): Outputs {
  const largest = 1 + 2 * (CAP + Math.log(vocabulary));
  const logits = stage.normal("logits", tokens * vocabulary, std);
  const targets = targetsOf(tokens, vocabulary);
  for (let t = 0; t < tokens; t++) {
    const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
    row.forEach((x, i) => row[i] = Math.exp(CAP * Math.tanh(x / CAP)));
    let total = 0;
    for (const e of row) total += e;
    row.forEach((e, i) => row[i] = scale * ((i === targets[t] ? 1 : 0) + e / total * largest));
  }
  return { loss: new Float64Array(tokens).fill(largest), ...(scale !== 0 && { logits }) };
}

/** Cases of this family. */
export const softcapCases: readonly KernelCase[] = [
  ...[0, 1, 15, 17, 1009].flatMap((count) =>
    [0.01, 2, 40].map((std): KernelCase => ({
      name: `softcap() of ${count} elements of size ${std}`,
      run: (stage) => softcap(stage, count, std),
      magnitudes: outputMagnitudes,
    }))
  ),
  ...([[1, 1], [3, 7], [5, 33], [4, 4111]] as const).flatMap(([tokens, vocabulary]) =>
    [0, 0.25].flatMap((scale) =>
      [1, 10].map((std): KernelCase => ({
        name:
          `crossEntropy() of capped logits, (T,V) = (${tokens},${vocabulary}), scale ${scale}, size ${std}`,
        run: (stage) => loss(stage, tokens, vocabulary, scale, std),
        magnitudes: (stage) => lossMagnitudes(stage, tokens, vocabulary, scale, std),
      }))
    )
  ),
];
