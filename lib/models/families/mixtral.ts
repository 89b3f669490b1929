// SPDX-License-Identifier: Apache-2.0
/** The mixtral family: mistral with a mixture of experts in every layer. */
import { type ConfigFields, problem, rawField } from "../config_fields.ts";
import { buildDecoder } from "./decoder.ts";
import { readDecoderConfig } from "./decoder_config.ts";
import { bareExpertModules, type ExpertsConfig, readExpertCounts, takesExperts } from "./experts.ts";
import type { Family } from "./family.ts";
import { sameWindows } from "./windows.ts";

/** Gate, up and down. */
const NAMES = { gate: "w1", up: "w3", down: "w2" };

/** `model_type` "mixtral". */
export const mixtral: Family<ExpertsConfig> = {
  modelType: "mixtral",
  heads: { MixtralForCausalLM: "lm", MixtralForSequenceClassification: "classification" },
  storedNames: [[".block_sparse_moe.", ".mlp."]],
  readConfig(fields: ConfigFields): ExpertsConfig {
    const shared = readDecoderConfig(fields, mixtral, {
      numKeyValueHeads: 8,
      headDim: null,
      maxPositionEmbeddings: 131072,
      bosTokenId: 1,
      eosTokenId: 2,
    });
    const noise = rawField(fields, "router_jitter_noise") ?? 0;
    if (noise !== 0) {
      problem(fields, "router_jitter_noise", "0: noise on what is routed is not supported", null);
    }
    return {
      ...shared,
      ...readExpertCounts(fields, { experts: 8, active: 2 }),
      normalised: true,
      expertSize: shared.intermediateSize,
      sharedSize: 0,
      hasExperts: new Array(shared.numHiddenLayers).fill(true),
      slidingWindows: sameWindows(fields, shared.numHiddenLayers),
      attentionBias: { qkv: false, o: false },
      mlpBias: false,
    };
  },
  build: (config, take) =>
    buildDecoder(config, take, {
      ffn: takesExperts(config, take, NAMES),
    }),
  bareModules: bareExpertModules,
};
