// SPDX-License-Identifier: Apache-2.0
/** Checkpoints with random weights, for measuring: any size of llama, and of its mixture of experts. */
import { join } from "node:path";
import { readConfig } from "../../lib/models/read_config.ts";
import { buildParts } from "../../lib/models/families/registry.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { type TensorSource, writeSafetensors } from "../../lib/tensor/write_safetensors.ts";

/** Type of weights and of matrix products. */
export type CaseDType = "f32" | "bf16";

/** Sizes that matter for speed. */
export interface ModelSizes {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly inner: number;
  readonly vocabulary: number;
  /** Every feed-forward is so many of `inner`, of which a token has some. Absent: there is one. */
  readonly experts?: { readonly count: number; readonly active: number };
}

/** A checkpoint that was written. */
export interface Checkpoint {
  readonly folder: string;
  readonly dtype: CaseDType;
  readonly sizes: ModelSizes;
}

/** Sizes as text: `d 1024, 8 layers, ffn 2816, 16/8 heads, vocabulary 32000`. */
export function formatSizes(
  { hidden, layers, heads, kvHeads, inner, vocabulary, experts }: ModelSizes,
): string {
  const ffn = experts ? `${experts.active} of ${experts.count} experts of ${inner}` : `ffn ${inner}`;
  return `d ${hidden}, ${layers} layers, ${ffn}, ${heads}/${kvHeads} heads, vocabulary ${vocabulary}`;
}

/** Writes a checkpoint into a new folder under `parent`. */
export async function writeCheckpoint(
  parent: string,
  sizes: ModelSizes,
  dtype: CaseDType,
  seed: number,
): Promise<Checkpoint> {
  return { folder: await writeRandomModel(parent, configJson(sizes, dtype), dtype, seed), dtype, sizes };
}

/**
 * Writes a model of any family into a new folder under `parent`: what has one row, norms, is 1, everything else N(0, 0.02^2).
 *
 * @param configFile Contents of `config.json` @returns The folder
 */
export async function writeRandomModel(
  parent: string,
  configFile: Readonly<Record<string, unknown>>,
  dtype: CaseDType,
  seed: number,
): Promise<string> {
  const folder = await Deno.makeTempDir({ dir: parent });
  await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(configFile));
  const problems: string[] = [];
  const config = readConfig(folder, problems);
  if (config === null) throw new Error(problems.join("; "));
  using k = nativeKernels();
  const tensors: TensorSource[] = [];
  buildParts(config, (name, rows, cols) => {
    const shape = rows === null ? [cols] : [rows, cols];
    const stream = tensors.length;
    const data = function* (): Iterable<ArrayBufferView> {
      const values = new Float32Array((rows ?? 1) * cols).fill(1);
      if (rows !== null) k.randomNormal(values, seed, stream, config.initializerRange);
      yield dtype === "f32" ? values : highHalves(values);
    };
    tensors.push({ name, dtype, shape, data });
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  return folder;
}

/** bf16 by cutting: the values only have to be random. */
export function highHalves(values: Float32Array): Uint16Array {
  const bits = new Uint16Array(values.buffer, values.byteOffset, 2 * values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) halves[i] = bits[2 * i + 1] as number;
  return halves;
}

export function configJson(sizes: ModelSizes, dtype: CaseDType): Record<string, unknown> {
  return {
    ...(sizes.experts ? mixtureFields(sizes.experts) : LLAMA_FIELDS),
    hidden_size: sizes.hidden,
    intermediate_size: sizes.inner,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    head_dim: sizes.hidden / sizes.heads,
    vocab_size: sizes.vocabulary,
    max_position_embeddings: 4096,
    hidden_act: "silu",
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    rope_scaling: null,
    tie_word_embeddings: false,
    initializer_range: 0.02,
    bos_token_id: 0,
    eos_token_id: 1,
    torch_dtype: dtype === "f32" ? "float32" : "bfloat16",
  };
}

const LLAMA_FIELDS = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  attention_bias: false,
  mlp_bias: false,
};

function mixtureFields({ count, active }: NonNullable<ModelSizes["experts"]>): Record<string, unknown> {
  return {
    architectures: ["MixtralForCausalLM"],
    model_type: "mixtral",
    num_local_experts: count,
    num_experts_per_tok: active,
    sliding_window: null,
  };
}
