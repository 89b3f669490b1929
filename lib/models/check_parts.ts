// SPDX-License-Identifier: Apache-2.0
/** Checks what a configuration's sizes make together: each may be possible by itself. */
import { quotedValue } from "../core/quoted.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { ModelConfig } from "./model.ts";
import { allTensors } from "./part_tensors.ts";
import type { ModelParts, TensorShape } from "./parts.ts";
import { ropeFrequencies } from "./rope.ts";

/** More than any model has: sizes that make more are mistakes. */
const MOST_PARAMETERS = 1e14;

/** @mutates fields.problems */
export function checkParts(fields: ConfigFields, config: ModelConfig, parts: ModelParts<TensorShape>): void {
  const parameters = allTensors(parts).reduce((sum, { rows, cols }) => sum + (rows ?? 1) * cols, 0);
  if (parameters > MOST_PARAMETERS) {
    const { hiddenSize, vocabSize, numHiddenLayers } = config;
    fields.problems.push(
      `hidden_size ${hiddenSize}, vocab_size ${vocabSize}, ${numHiddenLayers} layers and the sizes of heads and feed-forwards ` +
        `make ${parameters.toPrecision(3)} parameters, more than the ${MOST_PARAMETERS} allowed`,
    );
  }
  for (const rotary of Object.values(parts.rotary)) {
    const sound = [0, rotary.maxPositionEmbeddings].every((length) => {
      const { inverse, attentionFactor } = ropeFrequencies(rotary, length);
      return Number.isFinite(attentionFactor) && inverse.every((w) => Number.isFinite(w));
    });
    if (sound) continue;
    fields.problems.push(
      `rope_theta ${rotary.ropeTheta} and the rope scaling ${
        quotedValue(rotary.ropeScaling)
      } give angles that are no numbers`,
    );
  }
}
