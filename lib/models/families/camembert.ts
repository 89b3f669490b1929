// SPDX-License-Identifier: Apache-2.0
/** The CamemBERT family (Martin et al., 2020): RoBERTa of French. */
import type { EncoderConfig } from "./encoder_config.ts";
import type { Family } from "./family.ts";
import { robertaFamily } from "./roberta.ts";

/** `model_type` "camembert". */
export const camembert: Family<EncoderConfig> = robertaFamily("camembert", {
  CamembertForMaskedLM: "masked-lm",
  CamembertForSequenceClassification: "classification",
});
