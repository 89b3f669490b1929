// SPDX-License-Identifier: Apache-2.0
/** Facts of a model that follow from its parts, for what a coupling trains and for its defaults. */
import type { ModelConfig } from "../../models/model.ts";
import { lastStack } from "../../models/parts.ts";
import { namedParts } from "../../models/tensor_names.ts";

/** By layer of all stacks: whether it is the uppermost of its own. */
export function areUppermost(config: ModelConfig): readonly boolean[] {
  return namedParts(config).stacks.flatMap(({ layers }) =>
    layers.map((_, number) => number === layers.length - 1)
  );
}

/** Whether the head's stack predicts what comes next: its tokens see the past alone. */
export function isDecoder(config: ModelConfig): boolean {
  const parts = lastStack(namedParts(config)).layers.flat();
  return parts.some((part) => part.kind === "attention" && part.sees === "past");
}
