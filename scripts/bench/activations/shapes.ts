// SPDX-License-Identifier: Apache-2.0
/** Models and batches whose activations are counted: one at a time of depth, length and rows is larger or smaller. */

/** What activations depend on. */
export interface Shape {
  readonly family: "llama" | "bert";
  readonly layers: number;
  readonly hidden: number;
  /** Tokens of a row. */
  readonly length: number;
  /** Rows of a micro-batch. */
  readonly rows: number;
}

/** Counted together, and what is told of them. */
export interface Series {
  readonly name: string;
  readonly shapes: readonly Shape[];
}

const CENTRE: Shape = { family: "llama", layers: 24, hidden: 1024, length: 512, rows: 4 };

/** As far as the machine's size matters for the peer alone: ours are counted. */
export function allSeries(quick: boolean): readonly Series[] {
  const by = <K extends keyof Shape>(name: string, key: K, values: readonly Shape[K][]): Series => ({
    name,
    shapes: values.map((value) => ({ ...CENTRE, [key]: value })),
  });
  // The published ones: BERT-base and BERT-large.
  const paper: Series = {
    name: "the paper's",
    shapes: [[12, 768], [24, 1024]].flatMap(([layers = 0, hidden = 0]) =>
      [[128, 4], [512, 1]].map(([length = 0, rows = 0]): Shape => ({
        family: "bert",
        ...{ layers, hidden, length, rows },
      }))
    ),
  };
  if (quick) return [by("depth", "layers", [6, 24])];
  return [
    by("depth", "layers", [6, 12, 24, 48]),
    by("length", "length", [256, 1024, 4096, 8192]),
    by("rows", "rows", [1, 16]),
    paper,
  ];
}

/** Whose steps are timed: of BERT-base's depth, and half as wide. */
export const TIMED_SHAPE: Shape = { family: "bert", layers: 12, hidden: 384, length: 512, rows: 1 };

/** `config.json` of a shape, for us and for transformers. */
export function configOf({ family, layers, hidden, length }: Shape): Readonly<Record<string, unknown>> {
  const heads = hidden / 64;
  const sizes = {
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    max_position_embeddings: Math.max(512, length),
    torch_dtype: "float32",
  };
  if (family === "bert") {
    return {
      ...sizes,
      ...{ model_type: "bert", architectures: ["BertForSequenceClassification"], vocab_size: 30522 },
      ...{ intermediate_size: 4 * hidden, hidden_act: "gelu", type_vocab_size: 2, num_labels: 2 },
      ...{ hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, layer_norm_eps: 1e-12 },
      id2label: { 0: "no", 1: "yes" },
      label2id: { no: 0, yes: 1 },
    };
  }
  return {
    ...sizes,
    ...{ model_type: "llama", architectures: ["LlamaForCausalLM"], vocab_size: 32000 },
    ...{ intermediate_size: 2816 * hidden / 1024, num_key_value_heads: heads, hidden_act: "silu" },
    ...{ rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true },
  };
}

/** `llama, 24 layers of 1024, 4 x 512 tokens`. */
export function formatShape({ family, layers, hidden, length, rows }: Shape): string {
  return `${family}, ${layers} layers of ${hidden}, ${rows} x ${length} tokens`;
}
