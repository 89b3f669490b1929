// SPDX-License-Identifier: Apache-2.0
/** The same kernels with a clock at every call: where the time of a step goes, without a change to the product. */
import { hostTimesSince } from "../../lib/ops/host_times.ts";
import type { NativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { SPARSE_PARTS, type SparsePart } from "../../lib/native/context.ts";
import type { ActivationArray, Weight } from "../../lib/tensor/tensor.ts";

/** Milliseconds by part of a step. */
export type PartTimes = Map<string, number>;

/**
 * Parts of a step, in the order of its report; they add up to the step. What no kernel took is "other": TypeScript,
 * copies and sums. "waiting" is what one lane waits for another: none here, where all work is the caller's.
 */
export const PARTS = [
  "attention products",
  "attention",
  "frozen FFN",
  "head and loss",
  "norms",
  "adapter products",
  "routing",
  "scoring",
  "values",
  "score gradients",
  "input gradients",
  "router gradients",
  "row gradients",
  "sparse, other",
  "clip norm",
  "update",
  "catching up",
  "waiting",
  "other",
] as const;
/** One of {@linkcode PARTS}. */
export type Part = typeof PARTS[number];

const PART_OF = {
  linearBackwardWeight: "adapter products",
  normForward: "norms",
  normBackward: "norms",
  ropeApply: "attention",
  add: "norms",
  sumSquares: "clip norm",
  attentionForward: "attention",
  attentionBackward: "attention",
  crossEntropy: "head and loss",
  softcap: "head and loss",
  expertsChoose: "frozen FFN",
  expertsChooseBackward: "frozen FFN",
  expertsGather: "frozen FFN",
  expertsCombine: "frozen FFN",
  expertsWeighBackward: "frozen FFN",
  sparseForward: "sparse, other",
  sparseBranchBackward: "sparse, other",
  sparseBackwardStep: "sparse, other",
  adamwDense: "update",
  adamwRows: "update",
  adamwRowsCatchUp: "catching up",
} as const satisfies Partial<Record<keyof NativeKernels, Part>>;

const PART_OF_SPARSE = {
  scoring: "scoring",
  values: "values",
  scoreGradients: "score gradients",
  inputGradients: "input gradients",
  routerGradients: "router gradients",
  rowGradients: "row gradients",
  rowSteps: "update",
} as const satisfies Record<SparsePart, Part>;

/**
 * Takes the sparse adapter's calls apart by the library's own clocks, read before and after a step. @mutates times
 */
export function splitSparse(
  times: PartTimes,
  before: Readonly<Record<SparsePart, number>>,
  after: Readonly<Record<SparsePart, number>>,
): void {
  const add = (part: Part, ms: number) => times.set(part, (times.get(part) ?? 0) + ms);
  for (const name of SPARSE_PARTS) {
    const ms = after[name] - before[name];
    if (ms === 0) continue;
    add(PART_OF_SPARSE[name], ms);
    add("sparse, other", -ms);
  }
}

/** Kernels whose calls add their milliseconds to `times`. The lane must work inside the caller. @mutates times */
export function timedKernels(kernels: NativeKernels, times: PartTimes): NativeKernels {
  const timed = <A extends unknown[], T>(call: (...passed: A) => T, part: (...passed: A) => Part) => {
    return (...passed: A): T => {
      const start = performance.now();
      const result = call(...passed);
      const name = part(...passed);
      times.set(name, (times.get(name) ?? 0) + performance.now() - start);
      return result;
    };
  };
  const wrapped = Object.fromEntries(
    Object.entries(PART_OF).map(([name, part]) => {
      const call = kernels[name as keyof typeof PART_OF] as (...passed: unknown[]) => unknown;
      return [name, timed(call, () => part)];
    }),
  ) as unknown as Pick<NativeKernels, keyof typeof PART_OF>;
  const add = (name: Part, ms: number): void => void times.set(name, (times.get(name) ?? 0) + ms);
  return {
    ...kernels,
    ...wrapped,
    sparseBranchForward(...passed) {
      const before = { ...kernels.hostTimes };
      const fired = kernels.sparseBranchForward(...passed);
      const { routing, scoring, values, catchUp } = hostTimesSince(kernels.hostTimes, before);
      add("routing", routing);
      add("sparse, other", scoring + values); // splitSparse() takes these apart
      add("catching up", catchUp);
      return fired;
    },
    activationForward: timed(kernels.activationForward, (_y, _x, up) => partOfActivation(up)),
    activationBackward: timed(kernels.activationBackward, (_dx, dup) => partOfActivation(dup)),
    linearForward: timed(kernels.linearForward, (_y, _x, w) => partOfWeight(w)),
    linearBackwardData: timed(kernels.linearBackwardData, (_dx, _dy, w) => partOfWeight(w)),
  };
}

/** The frozen feed-forward's gates another product, the parallel adapter's is alone. */
function partOfActivation(gated: ActivationArray | null): Part {
  return gated === null ? "adapter products" : "frozen FFN";
}

/** Names of frozen weights are the checkpoint's own. */
function partOfWeight({ name }: Weight): Part {
  if (/^model\.layers\.\d+\.self_attn\./.test(name)) return "attention products";
  if (/^model\.layers\.\d+\.mlp\.(gate|up|down)_proj\.weight$/.test(name)) return "frozen FFN";
  return name === "lm_head.weight" ? "head and loss" : "adapter products";
}
