// SPDX-License-Identifier: Apache-2.0
/** Optimizers by name. Adding one is a file and a line here. */
import { adamwOptimizer, type AdamwOptions, resolveAdamw } from "./adamw.ts";
import type { Optimizer } from "./optimizer.ts";

/** An optimizer by name, with its options: plain data. */
export interface OptimizerSpec {
  readonly name: "adamw";
  readonly options: AdamwOptions;
}

/** AdamW with the published defaults; see {@linkcode AdamwOptions}. */
export function adamw(options: AdamwOptions = {}): OptimizerSpec {
  return { name: "adamw", options };
}

/** The optimizer of a spec, over the defaults of the method. Problems: one sentence each. */
export function resolveOptimizer(
  spec: OptimizerSpec,
  methodDefaults: AdamwOptions,
): { optimizer: Optimizer; problems: string[] } {
  const { config, problems } = resolveAdamw(methodDefaults, spec.options);
  return { optimizer: adamwOptimizer(config), problems };
}
