// SPDX-License-Identifier: Apache-2.0
/** The kinds of sublayers there are: adding one is one file and one line here, beside its record in `parts.ts`. */
import type { Stage } from "../../activations/policy.ts";
import type { Sublayer } from "../parts.ts";
import { attention } from "./attention.ts";
import type { StepContext } from "./context.ts";
import { crossAttention } from "./cross_attention.ts";
import { experts } from "./experts.ts";
import { ffn } from "./ffn.ts";
import type { SublayerKind } from "./sublayer.ts";

/** Kinds by name. Each is given the residuals that it returned. */
const KINDS: {
  readonly [Kind in Sublayer["kind"]]: SublayerKind<Extract<Sublayer, { kind: Kind }>, unknown>;
} = { attention, "cross-attention": crossAttention, ffn, experts };

/**
 * A sublayer of a layer as a function of the residual stream.
 *
 * @param needsInput Whether anything below this sublayer is trained
 */
export function sublayerStage(
  step: StepContext,
  layer: number,
  part: Sublayer,
  needsInput: boolean,
): Stage<unknown> {
  const kind = KINDS[part.kind] as SublayerKind<Sublayer, unknown>;
  return {
    forward: (x, y, again, landing) => kind.forward(step, layer, part, { x, y, again, landing }),
    backward: (residuals, dx) => kind.backward(step, layer, part, residuals, dx, needsInput),
  };
}
