// SPDX-License-Identifier: Apache-2.0
/**
 * PEFT's folders of a LoRA. Written so that every PEFT since 0.7 loads them; read with every option that PEFT has, where
 * those that would change the result and are not known here are refused by name.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { LINEAR_SITES } from "../models/sites.ts";
import { type AdapterFormat, shown } from "./file_format.ts";

/** PEFT warns of fields that it does not know, so the hash of the base model is beside the tensors. */
const BASE_HASH = "base_model_hash";

/** Modules of transformers' models that have a site. */
const MODULES: readonly string[] = LINEAR_SITES.map((site) => `${site}_proj`);
/**
 * A module as PEFT names it: `q_proj`, or the path in each layer when the user said "all-linear". Which layers those are
 * is told by the tensors: one that a layer lacks is an error.
 */
const MODULE_PATH =
  /^(?:(?:model\.)?layers\.\d+\.)?(?:self_attn\.(?=[qkvo]_)|mlp\.(?=gate_|up_|down_))?([a-z]+_proj)$/;

/** Options that say how training began, ran or was recorded: with saved factors, the result is the same. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  "auto_mapping",
  "ensure_weight_tying",
  "inference_mode",
  "layers_pattern",
  "loftq_config",
  "megatron_core",
  "peft_type",
  "peft_version",
  "qalora_group_size",
  "revision",
  "runtime_config",
  "task_type",
]);

/** Starts that leave the base model's weights as they are; others (PiSSA, OLoRA, LoftQ, …) train beside changed ones. */
const INITS: readonly (Json | undefined)[] = [undefined, true, false, "gaussian", "orthogonal", "eva"];

/** Options that become our own, by name. */
const RENAMED = { r: "rank", lora_alpha: "alpha", lora_dropout: "dropout", use_rslora: "useRslora" } as const;

/** The format of `lora`. */
export const PEFT_LORA_FORMAT: AdapterFormat = {
  peftType: "LORA",
  metadata: (base) => ({ format: "pt", [BASE_HASH]: base.hash }),
  config({ adapter: { config } }, base) {
    const ours = Object.entries(RENAMED).map(([theirs, name]) => [theirs, config[name] as Json]);
    return {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: base.name,
      inference_mode: true,
      ...Object.fromEntries(ours),
      target_modules: (config["targets"] as readonly string[]).map((site) => `${site}_proj`),
      bias: "none",
      fan_in_fan_out: false,
      init_lora_weights: true,
    };
  },
  read(fields, metadata, problems) {
    const { bias, init_lora_weights: init, base_model_name_or_path: baseName } = fields;
    if (bias !== undefined && bias !== "none") problems.push(refusal("bias", bias));
    if (!INITS.includes(init)) problems.push(refusal("init_lora_weights", init));
    for (const [name, value] of Object.entries(fields)) {
      if (!READ.has(name) && !WITHOUT_EFFECT.has(name) && !isNothing(value)) {
        problems.push(refusal(name, value));
      }
    }
    const options = Object.entries(RENAMED).filter(([theirs]) => fields[theirs] !== undefined);
    return {
      kind: "lora",
      options: {
        ...PEFT_DEFAULTS,
        ...Object.fromEntries(options.map(([theirs, ours]) => [ours, fields[theirs] as Json])),
        targets: readTargets(fields["target_modules"], problems),
      },
      // PEFT leaves the name out when the model was made from a configuration.
      baseName: typeof baseName === "string" && baseName !== "" ? baseName : "a model without a name",
      baseHash: metadata[BASE_HASH] ?? null,
      tensorsHash: null,
    };
  },
};

/** Fields with a meaning of their own here. */
const READ: ReadonlySet<string> = new Set([
  ...Object.keys(RENAMED),
  "base_model_name_or_path",
  "bias",
  "init_lora_weights",
  "target_modules",
]);

/** What a folder means that leaves an option out. */
const PEFT_DEFAULTS: JsonObject = { rank: 8, alpha: 8 };

/** Whether an option is off. */
function isNothing(value: Json | undefined): boolean {
  if (value === null || value === undefined || value === false || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function refusal(name: string, value: Json | undefined): string {
  return `"${name}" is ${shown(value)}, an option that is not supported here`;
}

/** @mutates problems */
function readTargets(modules: Json | undefined, problems: string[]): readonly string[] {
  if (modules === "all-linear") return LINEAR_SITES;
  if (!Array.isArray(modules)) {
    problems.push(
      `"target_modules" is ${shown(modules)}, expected "all-linear" or a list of ${MODULES.join(", ")}`,
    );
    return LINEAR_SITES;
  }
  const named = new Set<string>();
  const unknown: Json[] = [];
  for (const module of modules as readonly Json[]) {
    const name = typeof module === "string" ? MODULE_PATH.exec(module)?.[1] : undefined;
    if (name !== undefined && MODULES.includes(name)) named.add(name);
    else unknown.push(module);
  }
  for (const module of unknown) {
    problems.push(`"target_modules" has ${shown(module)}, expected only ${MODULES.join(", ")}`);
  }
  const sites = LINEAR_SITES.filter((site) => named.has(`${site}_proj`));
  return sites.length === 0 && unknown.length > 0 ? LINEAR_SITES : sites; // said once is enough
}
