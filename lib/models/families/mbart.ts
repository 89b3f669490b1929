// SPDX-License-Identifier: Apache-2.0
/** The mBART family (Liu et al., 2020): BART with norms before sublayers, whose decoder begins with a language. */
import { encoderDecoderFamily } from "./encoder_decoder.ts";
import type { EncoderDecoderConfig } from "./encoder_decoder_config.ts";
import type { Family } from "./family.ts";

/** `model_type` "mbart". */
export const mbart: Family<EncoderDecoderConfig> = encoderDecoderFamily("mbart", {
  MBartForConditionalGeneration: "lm",
  MBartForSequenceClassification: "classification",
}, { normsBefore: true, startTokenId: null, labels: 2 });
