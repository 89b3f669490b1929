// SPDX-License-Identifier: Apache-2.0
/** What the families that followed llama read from `config.json` in the same way. */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import {
  type ConfigFields,
  givenField,
  integerField,
  isPresent,
  numberField,
  problem,
} from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import { readRope, type RopeSizes } from "../rope_config.ts";
import type { RopeScaling } from "../rotary.ts";
import {
  activationField,
  byDefault,
  type CommonDefaults,
  MOST,
  readCommonConfig,
  sizeField,
} from "./common_config.ts";
import type { Family } from "./family.ts";

/** What `config.json` of such a family says. */
export interface DecoderConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly hiddenAct: ActivationKind;
  /** How many numbers of a head turn. */
  readonly rotaryDim: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  /** Sliding window of each layer, 0 for none; length numHiddenLayers. */
  readonly slidingWindows: readonly number[];
  /** Biases present, by site. */
  readonly attentionBias: { readonly qkv: boolean; readonly o: boolean };
  readonly mlpBias: boolean;
}

/** What is read alike of all. */
export type SharedConfig = Omit<DecoderConfig, "slidingWindows" | "attentionBias" | "mlpBias">;

/** What stands for missing fields, where families differ: transformers' own defaults. */
export interface DecoderDefaults extends CommonDefaults {
  /** Null: as many as there are heads. A field that is null means that in every family. */
  readonly numKeyValueHeads: number | null;
  /** Null: hidden size / heads. */
  readonly headDim: number | null;
  /** Default: 1e-6. */
  readonly rmsNormEps?: number;
  /** How rotary embeddings are read otherwise than in most families. */
  readonly rope?: Omit<RopeSizes, "maxPositionEmbeddings" | "headDim">;
  /** Reads the activation. Default: `hidden_act`, silu when it is missing. @mutates fields */
  readonly readActivation?: (fields: ConfigFields) => ActivationKind;
}

/** What transformers takes for a missing `rms_norm_eps`, in most families. */
const DEFAULT_EPS = 1e-6;

/** @mutates fields */
export function readDecoderConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
  defaults: DecoderDefaults,
): SharedConfig {
  const common = readCommonConfig(fields, family, defaults);
  const heads = readGroupedHeads(fields, common.hiddenSize, defaults);
  return {
    ...common,
    ...heads,
    intermediateSize: sizeField(fields, "intermediate_size"),
    hiddenAct: (defaults.readActivation ?? readHiddenAct)(fields),
    rmsNormEps: isPresent(fields, "rms_norm_eps")
      ? numberField(fields, "rms_norm_eps", { above: 0 })
      : byDefault(fields, "rms_norm_eps", defaults.rmsNormEps ?? DEFAULT_EPS),
    ...readRope(fields, {
      maxPositionEmbeddings: common.maxPositionEmbeddings,
      headDim: heads.headDim,
      ...defaults.rope,
    }),
  };
}

function readHiddenAct(fields: ConfigFields): ActivationKind {
  return activationField(fields, "hidden_act", "silu");
}

/** Their number and size; what does not fit is said of sizes that are right by themselves. @mutates fields */
function readGroupedHeads(
  fields: ConfigFields,
  hiddenSize: number,
  defaults: DecoderDefaults,
): Pick<DecoderConfig, "numAttentionHeads" | "numKeyValueHeads" | "headDim"> {
  const name = "num_key_value_heads";
  const before = fields.problems.length;
  const heads = integerField(fields, "num_attention_heads", { min: 1, max: MOST.heads });
  const missing = isPresent(fields, name) ? heads : defaults.numKeyValueHeads ?? heads;
  const kvHeads = integerField(fields, name, { min: 1, missing });
  const headDim =
    integerField(fields, "head_dim", { min: 1, max: MOST.headDim, missing: defaults.headDim }) ??
      hiddenSize / heads;
  // Where a size is no size, what follows from it says nothing.
  if (fields.problems.length === before && givenField(fields, "hidden_size") === hiddenSize) {
    if (heads % kvHeads !== 0) {
      problem(fields, name, `a divisor of the ${heads} of num_attention_heads`, null);
    }
    const wanted = headDimProblem(hiddenSize, heads, headDim);
    if (wanted !== null) problem(fields, "head_dim", wanted, null);
  }
  return { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim };
}

/** What it should be instead; null when it is right. */
function headDimProblem(hiddenSize: number, heads: number, headDim: number): string | null {
  if (!Number.isInteger(headDim)) {
    return `a value, because ${heads} heads do not divide the hidden size ${hiddenSize}`;
  }
  if (headDim > MOST.headDim) {
    return `a value: ${hiddenSize} / ${heads} is more than the ${MOST.headDim} allowed`;
  }
  return headDim % 2 === 0 ? null : `an even number, not ${headDim}`;
}
