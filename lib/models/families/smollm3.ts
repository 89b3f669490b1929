// SPDX-License-Identifier: Apache-2.0
/** The smollm3 family: every fourth layer turns nothing; windows in those layers when switched on. */
import { booleanField, type ConfigFields, integerField, problem, rawField } from "../config_fields.ts";
import { bareDecoderModules, buildDecoder, ROTARY } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";
import { noWindows, typedWindows } from "./windows.ts";

interface SmolLm3Config extends DecoderConfig {
  /** Whether queries and keys of a layer turn; length numHiddenLayers. */
  readonly turns: readonly boolean[];
}

/** `model_type` "smollm3". */
export const smollm3: Family<SmolLm3Config> = {
  modelType: "smollm3",
  heads: { SmolLM3ForCausalLM: "lm", SmolLM3ForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): SmolLm3Config {
    const shared = readDecoderConfig(fields, smollm3, {
      numKeyValueHeads: 4,
      headDim: null,
      maxPositionEmbeddings: 32768,
      rope: { ropeTheta: 2000000 },
      bosTokenId: 128000,
      eosTokenId: 128001,
      tieWordEmbeddings: true,
    });
    const { numHiddenLayers, maxPositionEmbeddings } = shared;
    const turns = readTurns(fields, numHiddenLayers);
    const bias = booleanField(fields, "attention_bias", false);
    // Written by its makers' tools, and read by nobody.
    rawField(fields, "max_window_layers");
    return {
      ...shared,
      turns,
      slidingWindows: booleanField(fields, "use_sliding_window", false)
        ? typedWindows(fields, numHiddenLayers, { missing: null, slides: (layer) => turns[layer] === false })
        : noWindows(fields, numHiddenLayers, maxPositionEmbeddings),
      attentionBias: { qkv: bias, o: bias },
      mlpBias: booleanField(fields, "mlp_bias", false),
    };
  },
  build: (config, take) =>
    buildDecoder(config, take, {
      attention: (layer) => ({ rotary: config.turns[layer] === true ? ROTARY : null }),
    }),
  bareModules: (config) => bareDecoderModules(config),
};

/** `no_rope_layers`, in which 1 stands for a layer that turns; else all but each last of an interval. @mutates fields */
function readTurns(fields: ConfigFields, layers: number): boolean[] {
  const interval = integerField(fields, "no_rope_layer_interval", { min: 1, missing: 4 });
  const given = rawField(fields, "no_rope_layers") ?? null;
  const byInterval = Array.from({ length: layers }, (_, layer) => (layer + 1) % interval !== 0);
  if (given === null) return byInterval;
  if (Array.isArray(given) && given.length === layers) return given.map(Boolean);
  return problem(fields, "no_rope_layers", `a number for each of the ${layers} layers`, byInterval);
}
