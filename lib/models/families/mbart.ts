// SPDX-License-Identifier: Apache-2.0
/** The mBART family (Liu et al., 2020): BART with norms before sublayers, whose decoder begins with a language. */
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

/** `model_type` "mbart". */
export const mbart: Family<EncoderDecoderConfig> = {
  modelType: "mbart",
  heads: { MBartForConditionalGeneration: "lm", MBartForSequenceClassification: "classification" },
  fieldNames: BART_FIELDS,
  copies: EMBEDDING_COPIES,
  unread: BART_UNREAD,
  readConfig: (fields) =>
    readEncoderDecoderConfig(fields, mbart, { normsBefore: true, startTokenId: null, labels: 2 }),
  stored: storedConfig,
  build: (config, take) => buildEncoderDecoder(config, take, true),
  bareModules: bareEncoderDecoderModules,
};
