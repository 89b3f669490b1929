// SPDX-License-Identifier: Apache-2.0
/**
 * All fields of PEFT's LoraConfig: those with a meaning of their own here, those that say nothing of the result, and those
 * that change it and are refused by name. Read against peft 0.7 to 0.21, whose LoRA layers this follows.
 */
import { isJsonObject, type Json, type JsonObject } from "../../core/json.ts";
import { shown } from "./file_format.ts";
import { PEFT_NAMES } from "../lora/options.ts";

/** Fields that are read. */
const READ: ReadonlySet<string> = new Set([
  ...Object.values(PEFT_NAMES),
  "base_model_name_or_path",
  "init_lora_weights",
  "ensure_weight_tying",
  "modules_to_save",
  "trainable_token_indices",
]);

/**
 * Fields that say how training began, ran or was recorded, or that linear layers pass over: with saved factors, the result is
 * the same.
 */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  "auto_mapping",
  "corda_config", // of a start that is refused by "init_lora_weights"
  "eva_config", // of a start, whose ranks are in "rank_pattern"
  "fan_in_fan_out", // the model says how its weights are kept
  "inference_mode",
  "loftq_config", // of a start that is refused by "init_lora_weights"
  "lora_ga_config", // of a start that is refused by "init_lora_weights"
  "megatron_core", // of "megatron_config"
  "peft_type",
  "peft_version",
  "qalora_group_size",
  "revision",
  "runtime_config",
  "task_type",
  "use_qalora", // of GPTQ's quantized layers
  "velora_config", // of the backward pass
]);

/** Why a field is refused, where there is more to say than that it is. */
const REASONS: Readonly<Record<string, string>> = {
  alora_invocation_tokens: "the delta would act on some tokens only",
  arrow_config: "it routes tokens among several adapters",
  kasa_config: "it changes the weights of the base model",
  layer_replication: "the model would have other layers",
  lora_bias: "the deltas would have biases",
  megatron_config: "it is for Megatron's layers",
  monteclora_config: "deltas would be drawn at random",
  target_parameters: "deltas of parameters that are no linear layers",
  use_bdlora: "the factors would be block-diagonal",
  use_dora: "DoRA scales the merged weights",
};

/** Of these PEFT cannot make plain weights. */
const UNMERGEABLE: ReadonlySet<string> = new Set([
  "alora_invocation_tokens",
  "arrow_config",
  "megatron_config",
]);

const VARIANT = /_config$|^use_/;

/** Starts that leave the base model's weights as they are. */
const INITS: readonly (Json | undefined)[] = [
  undefined,
  null,
  true,
  false,
  "gaussian",
  "orthogonal",
  "eva",
  "mica",
];

/** Whether an option is off. */
export function isNothing(value: Json | undefined): boolean {
  if (value === null || value === undefined || value === false || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** The settings of a variant of LoRA turn it on though they be all defaults. */
function isVariant(name: string, value: Json): boolean {
  return isJsonObject(value) && VARIANT.test(name);
}

/** One sentence for each field that would change the result and is not supported. */
export function optionProblems(fields: JsonObject): string[] {
  const problems: string[] = [];
  const { init_lora_weights: init } = fields;
  if (!INITS.includes(typeof init === "string" ? init.toLowerCase() : init)) {
    problems.push(
      `"init_lora_weights" is ${
        shown(init)
      }, an option that is not supported here (the adapter was trained ` +
        `beside changed weights of the base model): PEFT's save_pretrained(..., ` +
        `path_initial_model_for_weight_conversion=...) makes a plain LoRA of it`,
    );
  }
  for (const [name, value] of Object.entries(fields)) {
    if (READ.has(name) || WITHOUT_EFFECT.has(name)) continue;
    if (!isNothing(value) || isVariant(name, value)) problems.push(refusal(name, value));
  }
  return problems;
}

function refusal(name: string, value: Json | undefined): string {
  const reason = REASONS[name] ?? "what it does to the result is not known";
  const way = UNMERGEABLE.has(name)
    ? ""
    : ": merge the adapter with PEFT (merge_and_unload) and load the merged model";
  return `"${name}" is ${shown(value)}, an option that is not supported here (${reason})${way}`;
}
