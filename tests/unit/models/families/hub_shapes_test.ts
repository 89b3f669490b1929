// SPDX-License-Identifier: Apache-2.0
/** Configurations of encoders and mixtures as published checkpoints have them: read whole, with nothing left to refuse. */
import assert from "node:assert/strict";
import { countedElements } from "../../../../lib/models/tensor_names.ts";
import { parseConfig } from "../../../../lib/models/read_config.ts";

const BERT = {
  ...{ architectures: ["BertForMaskedLM"], model_type: "bert", gradient_checkpointing: false },
  ...{ attention_probs_dropout_prob: 0.1, hidden_act: "gelu", hidden_dropout_prob: 0.1, hidden_size: 768 },
  ...{
    initializer_range: 0.02,
    intermediate_size: 3072,
    layer_norm_eps: 1e-12,
    max_position_embeddings: 512,
  },
  ...{ num_attention_heads: 12, num_hidden_layers: 12, pad_token_id: 0, position_embedding_type: "absolute" },
  ...{ transformers_version: "4.6.0.dev0", type_vocab_size: 2, use_cache: true, vocab_size: 30522 },
};
const QWEN_MOE = {
  ...{ attention_dropout: 0, bos_token_id: 151643, eos_token_id: 151643, hidden_act: "silu" },
  ...{ hidden_size: 2048, initializer_range: 0.02, num_hidden_layers: 24, output_router_logits: false },
  ...{ rms_norm_eps: 1e-6, rope_theta: 1e6, router_aux_loss_coef: 0.001, torch_dtype: "bfloat16" },
  ...{ tie_word_embeddings: false, use_cache: true, use_sliding_window: false, vocab_size: 151936 },
  ...{ decoder_sparse_step: 1, max_window_layers: 28, rope_scaling: null },
};

/** Configurations, and how many parameters transformers makes of them. */
const SHAPES: Readonly<Record<string, readonly [Record<string, unknown>, parameters: number]>> = {
  "bert-base-uncased": [BERT, 109514298],
  "bert-base-multilingual-cased": [{
    ...BERT,
    ...{
      directionality: "bidi",
      pooler_fc_size: 768,
      pooler_num_attention_heads: 12,
      pooler_num_fc_layers: 3,
    },
    ...{ pooler_size_per_head: 128, pooler_type: "first_token_transform", vocab_size: 119547 },
  }, 177974523],
  "roberta-base": [{
    ...BERT,
    ...{ architectures: ["RobertaForMaskedLM"], model_type: "roberta", bos_token_id: 0, eos_token_id: 2 },
    ...{
      layer_norm_eps: 1e-5,
      max_position_embeddings: 514,
      pad_token_id: 1,
      type_vocab_size: 1,
      vocab_size: 50265,
    },
  }, 124697433],
  "xlm-roberta-base": [{
    ...BERT,
    ...{
      architectures: ["XLMRobertaForMaskedLM"],
      model_type: "xlm-roberta",
      bos_token_id: 0,
      eos_token_id: 2,
    },
    ...{ layer_norm_eps: 1e-5, max_position_embeddings: 514, output_past: true, pad_token_id: 1 },
    ...{ type_vocab_size: 1, vocab_size: 250002 },
  }, 278295186],
  "distilbert-base-uncased": [{
    ...{
      activation: "gelu",
      architectures: ["DistilBertForMaskedLM"],
      attention_dropout: 0.1,
      dim: 768,
      dropout: 0.1,
    },
    ...{ hidden_dim: 3072, initializer_range: 0.02, max_position_embeddings: 512, model_type: "distilbert" },
    ...{
      n_heads: 12,
      n_layers: 6,
      pad_token_id: 0,
      qa_dropout: 0.1,
      seq_classif_dropout: 0.2,
      sinusoidal_pos_embds: false,
    },
    ...{ tie_weights_: true, transformers_version: "4.10.0.dev0", vocab_size: 30522 },
  }, 66985530],
  "ModernBERT-base": [{
    ...{
      architectures: ["ModernBertForMaskedLM"],
      attention_bias: false,
      attention_dropout: 0,
      bos_token_id: 50281,
    },
    ...{
      classifier_activation: "gelu",
      classifier_bias: false,
      classifier_dropout: 0,
      classifier_pooling: "mean",
    },
    ...{ cls_token_id: 50281, decoder_bias: true, deterministic_flash_attn: false, embedding_dropout: 0 },
    ...{
      eos_token_id: 50282,
      global_attn_every_n_layers: 3,
      global_rope_theta: 160000,
      gradient_checkpointing: false,
    },
    ...{ hidden_activation: "gelu", hidden_size: 768, initializer_cutoff_factor: 2, initializer_range: 0.02 },
    ...{ intermediate_size: 1152, layer_norm_eps: 1e-5, local_attention: 128, local_rope_theta: 10000 },
    ...{
      max_position_embeddings: 8192,
      mlp_bias: false,
      mlp_dropout: 0,
      model_type: "modernbert",
      norm_bias: false,
    },
    ...{
      norm_eps: 1e-5,
      num_attention_heads: 12,
      num_hidden_layers: 22,
      pad_token_id: 50283,
      sep_token_id: 50282,
    },
    ...{ position_embedding_type: "absolute", reference_compile: null, repad_logits_with_grad: false },
    ...{
      sparse_pred_ignore_index: -100,
      sparse_prediction: false,
      torch_dtype: "float32",
      vocab_size: 50368,
    },
  }, 149655232],
  "Mixtral-8x7B": [{
    ...{ architectures: ["MixtralForCausalLM"], attention_dropout: 0, bos_token_id: 1, eos_token_id: 2 },
    ...{ hidden_act: "silu", hidden_size: 4096, initializer_range: 0.02, intermediate_size: 14336 },
    ...{
      max_position_embeddings: 32768,
      model_type: "mixtral",
      num_attention_heads: 32,
      num_experts_per_tok: 2,
    },
    ...{ num_hidden_layers: 32, num_key_value_heads: 8, num_local_experts: 8, output_router_logits: false },
    ...{ rms_norm_eps: 1e-5, rope_theta: 1e6, router_aux_loss_coef: 0.02, sliding_window: null },
    ...{ tie_word_embeddings: false, torch_dtype: "bfloat16", use_cache: true, vocab_size: 32000 },
  }, 46702792704],
  "Qwen1.5-MoE-A2.7B": [{
    ...QWEN_MOE,
    ...{ architectures: ["Qwen2MoeForCausalLM"], model_type: "qwen2_moe", intermediate_size: 5632 },
    ...{
      max_position_embeddings: 8192,
      moe_intermediate_size: 1408,
      norm_topk_prob: false,
      num_attention_heads: 16,
    },
    ...{
      num_experts: 60,
      num_experts_per_tok: 4,
      num_key_value_heads: 16,
      shared_expert_intermediate_size: 5632,
    },
    ...{ sliding_window: 32768 },
  }, 14315784192],
  "Qwen3-30B-A3B": [{
    ...QWEN_MOE,
    ...{
      architectures: ["Qwen3MoeForCausalLM"],
      model_type: "qwen3_moe",
      attention_bias: false,
      head_dim: 128,
    },
    ...{
      intermediate_size: 6144,
      max_position_embeddings: 40960,
      mlp_only_layers: [],
      moe_intermediate_size: 768,
    },
    ...{ norm_topk_prob: true, num_attention_heads: 32, num_experts: 128, num_experts_per_tok: 8 },
    ...{ num_hidden_layers: 48, num_key_value_heads: 4, sliding_window: null, max_window_layers: 48 },
  }, 30532122624],
};

for (const [name, [values, parameters]] of Object.entries(SHAPES)) {
  Deno.test(`${name} is read whole, with the parameters that transformers makes of it`, () => {
    const [problems, warnings]: [string[], string[]] = [[], []];
    const config = parseConfig({ ...values }, problems, warnings);
    assert.deepEqual([problems, warnings], [[], []]);
    assert.equal(config && countedElements(config), parameters);
  });
}
