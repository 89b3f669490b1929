// SPDX-License-Identifier: Apache-2.0
/** Models whose tokens see what comes after them: it is no use asking them what comes next. */
import { UserError } from "../../core/errors.ts";
import { type Head, lastStack, type ModelParts } from "../parts.ts";

/** @throws {UserError} When the head of a language model is on tokens that see the whole sequence */
export function assertPredictsNext(
  { stacks }: Pick<ModelParts<unknown>, "stacks">,
  head: Pick<Head, "kind">,
): void {
  const layers = lastStack({ stacks }).layers.flat();
  if (head.kind !== "lm" || !layers.some((part) => part.kind === "attention" && part.sees === "all")) return;
  throw new UserError(
    "The model's tokens see what comes after them (use_bidirectional_attention): it predicts no next token. " +
      "It is for --task classification and regression",
  );
}
