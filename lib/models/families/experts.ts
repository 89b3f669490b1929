// SPDX-License-Identifier: Apache-2.0
/** What the families of mixtures of experts read and take in the same way. */
import {
  booleanField,
  type ConfigFields,
  integerField,
  isPresent,
  numberField,
  problem,
  rawField,
} from "../config_fields.ts";
import type { Experts, SublayerNorms, TakeTensor } from "../parts.ts";
import { bareDecoderModules, LLAMA_NAMES } from "./decoder.ts";
import type { DecoderConfig } from "./decoder_config.ts";
import { takeLinear } from "./take.ts";

/** A decoder some of whose feed-forwards are mixtures. */
export interface ExpertsConfig extends DecoderConfig {
  /** Of all layers that have them. */
  readonly experts: number;
  readonly activeExperts: number;
  readonly normalised: boolean;
  /** F of an expert. */
  readonly expertSize: number;
  /** F of the expert that all tokens have; 0 where there is none. */
  readonly sharedSize: number;
  /** Whether a layer has experts; length numHiddenLayers. */
  readonly hasExperts: readonly boolean[];
}

/** More than any model has. */
const MOST_EXPERTS = 1 << 16;

/** Names of the field that says how many experts there are: all families know both. */
const COUNT_NAMES = ["num_experts", "num_local_experts"] as const;

/** Numbers of experts, and those that a token has. @mutates fields */
export function readExpertCounts(
  fields: ConfigFields,
  missing: { readonly experts: number; readonly active: number },
): Pick<ExpertsConfig, "experts" | "activeExperts"> {
  const [name = COUNT_NAMES[0], ...again] = COUNT_NAMES.filter((name) => isPresent(fields, name));
  const experts = integerField(fields, name, { min: 1, max: MOST_EXPERTS, missing: missing.experts });
  const activeExperts = integerField(fields, "num_experts_per_tok", { min: 1, missing: missing.active });
  for (const other of again) {
    if (rawField(fields, other) !== experts) problem(fields, other, `the ${experts} of ${name}`, null);
  }
  if (activeExperts > experts) {
    problem(fields, "num_experts_per_tok", `at most the ${experts} of ${name}`, null);
  }
  // For training whole models: experts that are frozen need no balance.
  numberField(fields, "router_aux_loss_coef", { missing: 0 });
  booleanField(fields, "output_router_logits", false);
  return { experts, activeExperts };
}

/** Which layers have experts, as the qwen families say it. @mutates fields */
export function readExpertLayers(fields: ConfigFields, layers: number): boolean[] {
  const step = integerField(fields, "decoder_sparse_step", { min: 1, missing: 1 });
  const dense = rawField(fields, "mlp_only_layers") ?? [];
  if (!Array.isArray(dense) || !dense.every((layer) => Number.isSafeInteger(layer))) {
    problem(fields, "mlp_only_layers", "a list of numbers of layers, or null", null);
  }
  const isDense = new Set(Array.isArray(dense) ? dense : []);
  return Array.from({ length: layers }, (_, layer) => !isDense.has(layer) && (layer + 1) % step === 0);
}

/** Names of an expert's modules within its own. */
export interface ExpertNames {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/** As the qwen families' checkpoints have them. */
const QWEN_EXPERTS: ExpertNames = { gate: "gate_proj", up: "up_proj", down: "down_proj" };

/** The experts of a layer. @param module Name of theirs */
function takeExperts<W>(
  { hiddenSize, expertSize, sharedSize, hiddenAct, ...config }: ExpertsConfig,
  take: TakeTensor<W>,
  module: string,
  norms: SublayerNorms<W>,
  names: ExpertNames,
): Experts<W> {
  const weight = (expert: number, name: string, rows: number, cols: number) =>
    take(`${module}.experts.${expert}.${name}.weight`, rows, cols);
  return {
    kind: "experts",
    module,
    norms,
    router: take(`${module}.gate.weight`, config.experts, hiddenSize),
    experts: Array.from({ length: config.experts }, (_, expert) => ({
      gate: weight(expert, names.gate, expertSize, hiddenSize),
      up: weight(expert, names.up, expertSize, hiddenSize),
      down: weight(expert, names.down, hiddenSize, expertSize),
    })),
    shared: sharedSize === 0 ? null : takeShared(take, module, hiddenSize, sharedSize),
    active: config.activeExperts,
    normalised: config.normalised,
    activation: hiddenAct,
  };
}

/** What stands in the place of feed-forwards, in those layers that have experts; see `DecoderStyle.ffn`. */
export function takesExperts<W>(
  config: ExpertsConfig,
  take: TakeTensor<W>,
  names: ExpertNames = QWEN_EXPERTS,
) {
  return (layer: number, path: string, norms: SublayerNorms<W>): Experts<W> | null =>
    config.hasExperts[layer] === true
      ? takeExperts(config, take, `${path}.${LLAMA_NAMES.ffn}`, norms, names)
      : null;
}

function takeShared<W>(take: TakeTensor<W>, module: string, hiddenSize: number, size: number) {
  const linear = (site: string, name: string, outputs: number, inputs: number) =>
    takeLinear(take, site, `${module}.${name}`, { outputs, inputs, bias: false });
  const inputs = ["gate", "up"].map((site) =>
    linear(`shared_${site}`, `shared_expert.${site}_proj`, size, hiddenSize)
  );
  return {
    inputs: [inputs[0], inputs[1]] as NonNullable<Experts<W>["shared"]>["inputs"],
    down: linear("shared_down", "shared_expert.down_proj", hiddenSize, size),
    gate: linear("shared_weight", "shared_expert_gate", 1, hiddenSize),
  };
}

/** Modules without tensors, and those of experts, whose tensors are all in one; see `Family.bareModules`. */
export function bareExpertModules(config: ExpertsConfig): string[] {
  const ffns = config.hasExperts.flatMap((has, layer) =>
    has ? [`${LLAMA_NAMES.layers}.${layer}.${LLAMA_NAMES.ffn}`] : []
  );
  const none = new Set(ffns.map((ffn) => `${ffn}.${LLAMA_NAMES.activation}`));
  return [
    ...bareDecoderModules(config).filter((name) => !none.has(name)),
    ...ffns.flatMap((ffn) => [`${ffn}.experts`, `${ffn}.experts.act_fn`, `${ffn}.gate`]),
    ...(config.sharedSize > 0 ? ffns.map((ffn) => `${ffn}.shared_expert.act_fn`) : []),
  ];
}
