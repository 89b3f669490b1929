// SPDX-License-Identifier: Apache-2.0
/** What the gemma families have in common: norms by one plus their weight, and scaled embeddings. */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import { booleanField, type ConfigFields, isPresent, numberField, rawField } from "../config_fields.ts";
import { activationField } from "./common_config.ts";
import { type DecoderNames, type DecoderStyle, LLAMA_NAMES } from "./decoder.ts";
import type { DecoderConfig, DecoderDefaults } from "./decoder_config.ts";

/** What stands for missing fields in all of them. */
export const GEMMA_DEFAULTS: Pick<
  DecoderDefaults,
  "headDim" | "bosTokenId" | "eosTokenId" | "tieWordEmbeddings"
> = { headDim: 256, bosTokenId: 2, eosTokenId: 1, tieWordEmbeddings: true };

/** Names of those that norm what a sublayer adds, too. */
export const FOUR_NORMS: DecoderNames = {
  ...LLAMA_NAMES,
  attentionNorms: { input: "input_layernorm", output: "post_attention_layernorm" },
  ffnNorms: { input: "pre_feedforward_layernorm", output: "post_feedforward_layernorm" },
};

/** What they compute otherwise than llama. */
export function gemmaStyle({ hiddenSize }: DecoderConfig): DecoderStyle {
  return { norm: { kind: "rms", unitOffset: true }, embeddingScale: Math.sqrt(hiddenSize) };
}

/** The activation of the later ones: `hidden_act` is another writer's name for it. @mutates fields */
export function readHiddenActivation(fields: ConfigFields): ActivationKind {
  rawField(fields, "hidden_act");
  return activationField(fields, "hidden_activation", "gelu_pytorch_tanh");
}

/** A cap that is `missing` where it is not given, and 0 where it is null. @mutates fields */
export function readSoftcap(fields: ConfigFields, name: string, missing: number): number {
  const given = numberField(fields, name, { above: 0, missing: 0 });
  return isPresent(fields, name) ? given : missing;
}

/** Biases of all products of attention. @mutates fields */
export function readAttentionBias(fields: ConfigFields): DecoderConfig["attentionBias"] {
  const bias = booleanField(fields, "attention_bias", false);
  return { qkv: bias, o: bias };
}
