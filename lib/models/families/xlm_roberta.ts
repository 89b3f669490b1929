// SPDX-License-Identifier: Apache-2.0
/** The XLM-RoBERTa family (Conneau et al., 2020): RoBERTa of a hundred languages. */
import type { EncoderConfig } from "./encoder_config.ts";
import type { Family } from "./family.ts";
import { robertaFamily } from "./roberta.ts";

/** `model_type` "xlm-roberta". */
export const xlmRoberta: Family<EncoderConfig> = robertaFamily("xlm-roberta", {
  XLMRobertaForMaskedLM: "masked-lm",
  XLMRobertaForSequenceClassification: "classification",
});
