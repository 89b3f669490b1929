// SPDX-License-Identifier: Apache-2.0
/**
 * What becomes of the fields of a `config.json` that nothing here reads. transformers passes over all of them; but one may
 * ask for another computation, which a model trained without it would silently lack. In this order:
 *
 * 1. A field known to say nothing, or to say what is so anyway ({@linkcode DOES_NOTHING}, {@linkcode SAYS_SAME}), is accepted.
 * 2. A value that switches off (null, false, 0, "", an empty list or object) is accepted.
 * 3. A field of another part of a larger model, or of tools (vision, speculative heads, training runs), is warned of.
 * 4. A name that suggests another computation ({@linkcode SUGGESTS}) is refused.
 * 5. Any other is warned of.
 */
import { quotedNames, quotedValue } from "../core/quoted.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { ModelConfig } from "./model.ts";
import type { ModelParts, TensorShape } from "./parts.ts";
import { type Facts, factsOf, isOff, SAYS_SAME } from "./same_fields.ts";

/** Says what became of all fields that nobody read. @mutates fields.problems, fields.warnings */
export function reportUnknown(
  fields: ConfigFields,
  config: ModelConfig,
  parts: ModelParts<TensorShape>,
): void {
  const facts = factsOf(config, parts);
  const passed: string[] = [];
  for (const [name, value] of Object.entries(fields.values)) {
    if (fields.used.has(name)) continue;
    const verdict = judge(name, value, facts);
    if (verdict === "refuse") refuseUnknown(fields, name);
    if (verdict === "warn") passed.push(name);
  }
  if (passed.length > 0) {
    fields.warnings.push(`Fields that are passed over, as transformers does: ${quotedNames(passed, 12)}`);
  }
}

/** @mutates fields.problems */
export function refuseUnknown(fields: ConfigFields, name: string): void {
  fields.problems.push(
    `Field "${fields.prefix}${name}" (${quotedValue(fields.values[name])}) is unknown: ` +
      "what it asks of the model is not supported",
  );
}

type Verdict = "accept" | "warn" | "refuse";

function judge(name: string, value: unknown, facts: Facts): Verdict {
  const saysSame = SAYS_SAME.find(([names]) => names.includes(name));
  if (saysSame !== undefined) {
    if (saysSame[1](value, facts)) return "accept";
    return value === null && name !== "is_causal" ? "accept" : "refuse";
  }
  if (DOES_NOTHING.test(name) || isOff(value)) return "accept";
  const plain = name.toLowerCase();
  if (ELSEWHERE.test(plain)) return "warn";
  if (EXPERTS.test(plain)) return isPositive(value) && COUNTS_EXPERTS.test(plain) ? "refuse" : "warn";
  return SUGGESTS.test(plain) ? "refuse" : "warn";
}

const isPositive = (value: unknown): boolean => typeof value !== "number" || value > 0;

/** Matches any of these names whole. */
const named = (...patterns: readonly string[]): string => `^(${patterns.join("|")})$`;

/**
 * Provenance, numeric types, training (dropout is not applied), generation (read from `generation_config.json`), implementations
 * of the same mathematics, heads for other tasks, token ids.
 */
const DOES_NOTHING = new RegExp([
  named("_?name_or_path", "_commit_hash", "transformers_version", "unsloth_(version|fixed|optimized)"),
  named("transformers\\.js_config", "is_llama_config", "auto_map", "model_name", "base_model", "license"),
  named(
    "torch_dtype",
    "dtype",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "is_decoder",
    "bf16",
    "fp16",
  ),
  named("_?(attn|attention|experts)_implementation(_internal|_autoset)?", "_flash_attn_2_enabled"),
  named("(use_|_)?(flash|fused?|xformers|sdpa|triton|liger|memory_efficient|mem_eff)_.*", "fuse_.*"),
  named("use_(flash|sdpa|xformers|liger)(_?attn|_?attention)?(_2)?", "(attn_|attention_)?softmax_in_fp32"),
  named("residual_in_fp32", "attention_softmax_in_fp32", "pretraining_tp", "kv_cache_dtype"),
  named("(data|tensor|pipeline|sequence|context|model)_(model_)?parallel.*", "distributed_.*"),
  named(".*dropout.*", ".*_pdrop", "drop_path(_rate)?", "layerdrop", "init_std", "initializer_.*", "init_.*"),
  named("(grad|gradient)_.*", "(use|clip|max)_grad.*", "neftune_noise_alpha", "label_smoothing", "task_type"),
  named(
    ".*_token_(id|ids|index)",
    "(bos|eos|pad|unk|mask|cls|sep)_token",
    "tokenizer_.*",
    "model_max_length",
  ),
  named("max_sequence_length", "max_seq_(len|length)", "seq_(len|length)", "n_ctx", "n_positions"),
  named(
    "(num_)?logits_to_keep",
    "loss_type",
    "use_cache",
    "return_dict",
    "output_(attentions|hidden_states|scores|(router_)?logits|past)",
    "pruned_heads",
  ),
  named("chunk_size_feed_forward", "finetuning_task", "id2label", "label2id", "num_labels", "problem_type"),
  named(
    "task_specific_params",
    "prefix",
    "tie_last_hidden_states",
    "classifier_.*",
    "token_classification_bias",
    "keys_to_ignore_.*",
  ),
  // Of `GenerationConfig`.
  named("(max|min)_(length|new_tokens)", "do_sample", "early_stopping", "num_beams", "num_beam_groups"),
  named("temperature", "top_[kph]", "min_p", "typical_p", "(epsilon|eta)_cutoff", "penalty_alpha"),
  named("(encoder_)?(repetition|length|diversity)_penalty", "(encoder_)?no_repeat_ngram_size"),
  named("bad_words_ids", "force_words_ids", "num_return_sequences", "return_dict_in_generate", "constraints"),
  named("remove_invalid_values", "renormalize_logits", "exponential_decay_length_penalty", "sequence_bias"),
  named("(begin_)?suppress_tokens", "cache_(implementation|config)", "stop_strings", "guidance_scale"),
  named("num_assistant_tokens(_schedule)?", "assistant_.*", "target_lookbehind", "prompt_lookup_.*"),
].join("|"));

/**
 * Parts of larger models (their tensors lie elsewhere), heads that guess ahead, low-rank leftovers, and training runs.
 * Dual chunks reach only sequences beyond the length they name.
 */
const ELSEWHERE = new RegExp([
  "^(mm|vision|visual|image|img|audio|video|speech|im|tune|freeze|unfreeze|projector|connector)_",
  "^use_(mm|im|vision|image|audio)_|_(vision|image|audio|video)_|^(vision|audio|projector)$",
  "^(medusa|eagle|draft|speculat|mtp|hydra)|nextn|^(lora|peft|adapter|qlora|dora)_",
  "^(train|training|eval|optim|lr|wandb|deepspeed|fsdp|zero|ddp|megatron|dataset|data|loss)_",
  "^dual_chunk_attention_config$",
].join("|"));

/** Mixtures of experts: only their number tells whether there are any; the tensors of any there are would be missed. */
const EXPERTS =
  /expert|moe|router|^norm_topk_prob$|^topk_(method|group)$|^decoder_sparse_step$|^mlp_only_layers$/;
const COUNTS_EXPERTS = /^(num|n|moe_num)_.*experts?$|^moe_(layers?|num.*|every.*)$/;

/** Parts of names of whatever changes the forward pass. */
const SUGGESTS = new RegExp(
  [
    ...["scal", "softcap", "soft_cap", "clip", "clamp", "multiplier", "mup", "logit", "temperature"],
    ...["norm", "eps(ilon)?$", "residual", "rope", "rotary", "nope", "alibi", "position", "partial"],
    ...["attn", "attention", "window", "causal", "bidirectional", "sink", "mask", "chunk", "kv_", "^qk_"],
    ...["bias", "activation", "_act$", "act_fn", "gate", "mlp", "ffn", "feed_forward", "embed", "head"],
    ...[
      "swiglu",
      "gating",
      "pos_(emb|enc|bias)",
      "(abs|rel)_pos",
      "prefix_lm",
      "loop",
      "cycles",
      "model_base$",
    ],
    ...["quant", "compress", "sparse", "layer", "shared", "parallel", "multi_query", "cross_", "encoder"],
    ...[
      "ssm",
      "mamba",
      "conv(olution|_|[0-9]|$)",
      "recurrent",
      "hybrid",
      "fusion",
      "^tie_",
      "^tied_",
      "mixture",
    ],
    ...["^transformers_weights$", "^configuration_files$", "^(text|llm|language|thinker)(_model)?_config$"],
  ].join("|"),
);
