// SPDX-License-Identifier: Apache-2.0
/** What the families that followed BERT read from `config.json` in the same way. */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import { booleanField, type ConfigFields, integerField, numberField, problem } from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import { activationField, readCommonConfig, readHeads, sizeField } from "./common_config.ts";
import type { Family } from "./family.ts";

/** What `config.json` of such a family says. */
export interface EncoderConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly numAttentionHeads: number;
  readonly headDim: number;
  readonly hiddenAct: ActivationKind;
  readonly layerNormEps: number;
  /** Kinds of texts that tokens may be of; 0 where they are of one. */
  readonly typeVocabSize: number;
  /** Learned positions: rows there are, and in which the first token's stands. */
  readonly positions: { readonly rows: number; readonly offset: number };
}

/** What stands for missing fields, where families differ. */
export interface EncoderDefaults {
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  /** Rows of learned positions before that of the first token. */
  readonly positionOffset: number;
  /** Whether tokens are of several kinds. Default: yes. */
  readonly hasTypes?: boolean;
}

/** What transformers takes for missing fields, and for all of a family that lacks them. */
const BERT_EPS = 1e-12;
const DEFAULT_TYPES = 2;

/** @mutates fields */
export function readEncoderConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
  { positionOffset: offset, hasTypes = true, ...ends }: EncoderDefaults,
): EncoderConfig {
  const common = readCommonConfig(fields, family, {
    ...ends,
    maxPositionEmbeddings: 512,
    tieWordEmbeddings: true,
  });
  // Left behind by the tools that made BERT's checkpoints, and by older versions of transformers.
  fields.used.add("directionality").add("tie_weights_");
  for (const name of Object.keys(fields.values)) if (name.startsWith("pooler_")) fields.used.add(name);
  if (booleanField(fields, "is_decoder", false)) {
    problem(fields, "is_decoder", "false: a decoder of this family is not supported", null);
  }
  const rows = common.maxPositionEmbeddings;
  if (rows <= offset) problem(fields, "max_position_embeddings", `more than ${offset}`, null);
  return {
    ...common,
    ...readHeads(fields, common.hiddenSize),
    maxPositionEmbeddings: Math.max(1, rows - offset),
    intermediateSize: sizeField(fields, "intermediate_size"),
    hiddenAct: activationField(fields, "hidden_act", "gelu"),
    layerNormEps: numberField(fields, "layer_norm_eps", { above: 0, missing: BERT_EPS }),
    typeVocabSize: hasTypes ? integerField(fields, "type_vocab_size", { min: 1, missing: DEFAULT_TYPES }) : 0,
    positions: { rows, offset },
  };
}
