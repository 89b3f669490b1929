// SPDX-License-Identifier: Apache-2.0
/** Modules that adapters of a coupling are named after, and facts of a model that its defaults follow from. */
import type { ModelConfig } from "../../models/model.ts";
import { type Branch, lastStack } from "../../models/parts.ts";
import { namedParts, sublayerModules } from "../../models/tensor_names.ts";

/**
 * Module of the sublayer at a place, by layer of all stacks; null in the lowest layers of each stack, and in the top one.
 *
 * @param lowest How many layers of each stack have none     @param top Whether its uppermost has one
 * @throws {RangeError} When a layer has no such sublayer
 */
export function stackModules(
  config: ModelConfig,
  branch: Branch,
  lowest: number,
  top = true,
): (string | null)[] {
  const isLeftOut = namedParts(config).stacks.flatMap(({ layers }) =>
    layers.map((_, number) => number < lowest || (!top && number === layers.length - 1))
  );
  return sublayerModules(config, branch).map((module, layer) => isLeftOut[layer] ? null : module);
}

/** Layers of the shallowest stack. */
export function fewestLayers(config: ModelConfig): number {
  return Math.min(...namedParts(config).stacks.map(({ layers }) => layers.length));
}

/** Whether the head's stack predicts what comes next: its tokens see the past alone. */
export function isDecoder(config: ModelConfig): boolean {
  const parts = lastStack(namedParts(config)).layers.flat();
  return parts.some((part) => part.kind === "attention" && part.sees === "past");
}
