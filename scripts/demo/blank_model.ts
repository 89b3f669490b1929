// SPDX-License-Identifier: Apache-2.0
/** Writes an untrained llama checkpoint: configuration, random weights, tokenizer. */
import { join } from "node:path";
import { randomNormal } from "../../lib/core/rng.ts";
import { numel } from "../../lib/tensor/tensor.ts";
import { type TensorSource, writeSafetensors } from "../../lib/tensor/write_safetensors.ts";

/** `config.json` of the demo's model: 1.8 M parameters, small enough to ship and to train on two cores. */
export const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 192,
  intermediate_size: 512,
  num_hidden_layers: 4,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 1024,
  max_position_embeddings: 512,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  rope_scaling: null,
  attention_bias: false,
  mlp_bias: false,
  tie_word_embeddings: true,
  initializer_range: 0.02,
  bos_token_id: 0,
  eos_token_id: 1,
  torch_dtype: "float32",
  use_cache: true,
} as const;

/** Names and shapes of the weights, by the checkpoint's own names. */
function weightShapes(): [name: string, shape: number[]][] {
  const { hidden_size: d, intermediate_size: f, head_dim, num_attention_heads, num_key_value_heads } = CONFIG;
  const [q, kv] = [num_attention_heads * head_dim, num_key_value_heads * head_dim];
  const layer = (i: number): [string, number[]][] =>
    ([
      ["input_layernorm", [d]],
      ["self_attn.q_proj", [q, d]],
      ["self_attn.k_proj", [kv, d]],
      ["self_attn.v_proj", [kv, d]],
      ["self_attn.o_proj", [d, q]],
      ["post_attention_layernorm", [d]],
      ["mlp.gate_proj", [f, d]],
      ["mlp.up_proj", [f, d]],
      ["mlp.down_proj", [d, f]],
    ] as [string, number[]][]).map(([name, shape]) => [`model.layers.${i}.${name}.weight`, shape]);
  return [
    ["model.embed_tokens.weight", [CONFIG.vocab_size, d]],
    ...Array.from({ length: CONFIG.num_hidden_layers }, (_, i) => layer(i)).flat(),
    ["model.norm.weight", [d]],
  ];
}

/** Writes the model into a folder that is there. Norms are 1, everything else N(0, 0.02^2). */
export async function writeBlankModel(folder: string, tokenizer: unknown, seed: number): Promise<void> {
  const tensors = weightShapes().map(([name, shape], stream): TensorSource => {
    const data = new Float32Array(numel(shape)).fill(1);
    if (shape.length > 1) randomNormal(data, seed, stream, CONFIG.initializer_range);
    return { name, dtype: "f32", shape, data };
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  const json = (name: string, value: unknown) =>
    Deno.writeTextFile(join(folder, name), `${JSON.stringify(value, null, 1)}\n`);
  await json("config.json", CONFIG);
  await json("tokenizer.json", tokenizer);
  await json("tokenizer_config.json", {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: "<s>",
    eos_token: "</s>",
    add_bos_token: true,
    clean_up_tokenization_spaces: false,
    model_max_length: CONFIG.max_position_embeddings,
  });
}
