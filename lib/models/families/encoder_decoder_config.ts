// SPDX-License-Identifier: Apache-2.0
/** What the families that followed BART read from `config.json` in the same way. */
import { quotedValue } from "../../core/quoted.ts";
import type { ActivationKind } from "../../ops/kernels/model.ts";
import {
  booleanField,
  type ConfigFields,
  integerField,
  isPresent,
  problem,
  rawField,
  tokenIdsField,
} from "../config_fields.ts";
import type { DecoderIds, ModelConfig } from "../model.ts";
import { activationField, MOST, readCommonConfig, sizeField } from "./common_config.ts";
import type { Family } from "./family.ts";

/** Sizes of one of the two stacks. */
export interface StackSizes {
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
  readonly ffnDim: number;
}

/** What `config.json` of such a family says. */
export interface EncoderDecoderConfig extends ModelConfig {
  readonly encoder: StackSizes;
  readonly decoder: StackSizes;
  readonly activation: ActivationKind;
  /** Whether embeddings are multiplied by the root of their size. */
  readonly scalesEmbedding: boolean;
  /** Whether both stacks read one embedding, `shared`. */
  readonly sharesEmbedding: boolean;
  /** Whether the checkpoint has the bias of logits that nobody trains. */
  readonly hasLogitsBias: boolean;
  readonly decoderIds: DecoderIds;
}

/** What families read otherwise. */
export interface EncoderDecoderDefaults {
  /** Whether sublayers norm what enters them, and stacks what comes out of them. */
  readonly normsBefore: boolean;
  /** What the decoder reads first where nothing says it; null where that is the last of the tokens that should come out. */
  readonly startTokenId: number | null;
  /** Of a head on sequences that names none. */
  readonly labels: number;
}

/** Names in the file by those that most families have; see `Family.fieldNames`. */
export const BART_FIELDS: NonNullable<Family["fieldNames"]> = {
  hidden_size: "d_model",
  num_hidden_layers: "encoder_layers",
  num_attention_heads: "encoder_attention_heads",
  initializer_range: "init_std",
};

/** What transformers takes for missing `pad_token_id` and `forced_eos_token_id`. */
const [PAD, END] = [1, 2];

/** Of decoding and of training, in files of older versions; and labels that `id2label` names. */
const ELSEWHERE = ["force_bos_token_to_be_generated", "_num_labels", "num_labels", "gradient_checkpointing"];

/** @mutates fields */
export function readEncoderDecoderConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
  { normsBefore, startTokenId, labels }: EncoderDecoderDefaults,
): EncoderDecoderConfig {
  const values = {
    num_labels: labels,
    ...fields.values,
    ...(refusesLoneDecoder(fields, family) && { is_encoder_decoder: true }), // said once
  };
  const common = readCommonConfig({ ...fields, values }, family, {
    ...{ maxPositionEmbeddings: 1024, bosTokenId: 0, eosTokenId: 2 },
    ...{ tieWordEmbeddings: true, isEncoderDecoder: true },
  });
  const { hiddenSize, vocabSize } = common;
  for (const name of ELSEWHERE) rawField(fields, name);
  readStyle(fields, normsBefore);
  const [encoder, decoder] = [
    stackSizes(fields, "encoder", hiddenSize),
    stackSizes(fields, "decoder", hiddenSize),
  ];
  const given = givenDecoderIds(fields, vocabSize);
  return {
    ...common,
    padTokenId: isPresent(fields, "pad_token_id") ? common.padTokenId : PAD,
    numHiddenLayers: encoder.layers + decoder.layers,
    encoder,
    decoder,
    activation: activationField(fields, "activation_function", "gelu"),
    scalesEmbedding: booleanField(fields, "scale_embedding", false),
    sharesEmbedding: common.tieWordEmbeddings,
    hasLogitsBias: true,
    decoderIds: {
      ...given,
      startTokenId: given.startTokenId ?? startTokenId,
      shiftedIn: startTokenId === null ? "last" : given.startTokenId ?? startTokenId,
    },
  };
}

/** Whether the decoder alone is asked for: then that is a problem. @mutates fields */
function refusesLoneDecoder(fields: ConfigFields, { heads }: Pick<Family, "heads">): boolean {
  const named = [fields.values["architectures"] ?? []].flat().map(String);
  const isAlone = named.some((name) => name.endsWith("ForCausalLM")) ||
    booleanField(fields, "is_decoder", false);
  if (!isAlone) return false;
  fields.problems.push(
    `architectures ${
      quotedValue(named)
    } and "is_decoder" ask for the decoder alone, which is not supported: only ` +
      Object.keys(heads).join(", "),
  );
  return true;
}

/** What every checkpoint of these families says, and no other way of computing. @mutates fields */
function readStyle(fields: ConfigFields, normsBefore: boolean): void {
  const style = {
    normalize_before: normsBefore,
    add_final_layer_norm: normsBefore,
    normalize_embedding: true,
    static_position_embeddings: false,
    add_bias_logits: false,
  };
  for (const [name, wanted] of Object.entries(style)) {
    if (booleanField(fields, name, wanted) !== wanted) problem(fields, name, String(wanted), null);
  }
  if (integerField(fields, "extra_pos_embeddings", { missing: 2 }) !== 2) {
    problem(fields, "extra_pos_embeddings", "2, nothing else is supported", null);
  }
}

/** Names of what the encoder has are those of most families, by `BART_FIELDS`. */
const SIZE_NAMES = {
  encoder: { layers: "num_hidden_layers", heads: "num_attention_heads" },
  decoder: { layers: "decoder_layers", heads: "decoder_attention_heads" },
} as const;

/** @mutates fields */
function stackSizes(fields: ConfigFields, of: "encoder" | "decoder", hiddenSize: number): StackSizes {
  const before = fields.problems.length;
  const names = SIZE_NAMES[of];
  const heads = integerField(fields, names.heads, { min: 1, max: MOST.heads });
  const headDim = hiddenSize / heads;
  if (fields.problems.length === before && !(Number.isInteger(headDim) && headDim <= MOST.headDim)) {
    problem(fields, names.heads, `a divisor of the hidden size ${hiddenSize}`, null);
  }
  return {
    layers: sizeField(fields, names.layers, MOST.layers),
    heads,
    headDim,
    ffnDim: sizeField(fields, `${of}_ffn_dim`),
  };
}

/** @mutates fields */
function givenDecoderIds(
  fields: ConfigFields,
  vocabSize: number,
): Omit<DecoderIds, "shiftedIn"> {
  const id = (name: string): number | null => tokenIdsField(fields, name, vocabSize)[0] ?? null;
  const forcedEos = id("forced_eos_token_id");
  return {
    startTokenId: id("decoder_start_token_id"),
    forcedBosTokenId: id("forced_bos_token_id"),
    forcedEosTokenId: isPresent(fields, "forced_eos_token_id") ? forcedEos : END,
  };
}
