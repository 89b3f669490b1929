// SPDX-License-Identifier: Apache-2.0
/** How much the adapter's step adds to a layer of a 7B model. */
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { linearCases } from "./kernel_cases.ts";
import { median } from "./statistics.ts";

const TOKENS = 1024;
/** Weights of a llama 7B layer as [count, rows, columns]: attention, gate and up, down. */
const WEIGHTS = [[4, 4096, 4096], [2, 11008, 4096], [1, 4096, 11008]] as const;

/** Seconds of the layer's products, forward and backward to the input, for 1024 tokens. */
export function frozenLayerSeconds(k: Kernels, rounds: number): number {
  let seconds = 0;
  for (const [count, rows, cols] of WEIGHTS) {
    for (const make of linearCases(TOKENS, rows, cols)) {
      const { run } = make(k);
      run();
      const times = Array.from({ length: rounds }, () => {
        const start = performance.now();
        run();
        return performance.now() - start;
      });
      seconds += count * median(times) / 1000;
    }
  }
  return seconds;
}
