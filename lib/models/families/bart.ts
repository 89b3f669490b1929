// SPDX-License-Identifier: Apache-2.0
/** The BART family (Lewis et al., 2019): norms of sums, and a decoder that begins with the end of a text. */
import {
  bareEncoderDecoderModules,
  BART_UNREAD,
  buildEncoderDecoder,
  EMBEDDING_COPIES,
  storedConfig,
} from "./encoder_decoder.ts";
import {
  BART_FIELDS,
  type EncoderDecoderConfig,
  readEncoderDecoderConfig,
} from "./encoder_decoder_config.ts";
import type { Family } from "./family.ts";

/** `model_type` "bart". */
export const bart: Family<EncoderDecoderConfig> = {
  modelType: "bart",
  heads: { BartForConditionalGeneration: "lm", BartForSequenceClassification: "classification" },
  fieldNames: BART_FIELDS,
  copies: EMBEDDING_COPIES,
  unread: BART_UNREAD,
  readConfig: (fields) =>
    readEncoderDecoderConfig(fields, bart, { normsBefore: false, startTokenId: 2, labels: 3 }),
  stored: storedConfig,
  build: (config, take) => buildEncoderDecoder(config, take, false),
  bareModules: bareEncoderDecoderModules,
};
