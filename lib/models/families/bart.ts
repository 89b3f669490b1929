// SPDX-License-Identifier: Apache-2.0
/** The BART family (Lewis et al., 2019): norms of sums, and a decoder that begins with the end of a text. */
import { encoderDecoderFamily } from "./encoder_decoder.ts";
import type { EncoderDecoderConfig } from "./encoder_decoder_config.ts";
import type { Family } from "./family.ts";

/** `model_type` "bart". */
export const bart: Family<EncoderDecoderConfig> = encoderDecoderFamily("bart", {
  BartForConditionalGeneration: "lm",
  BartForSequenceClassification: "classification",
}, { normsBefore: false, startTokenId: 2, labels: 3 });
