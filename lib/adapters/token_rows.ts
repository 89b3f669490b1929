// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of the vocabulary's tables that are trained while all others are frozen, as PEFT's `trainable_token_indices` are: new
 * tokens, or old ones that shall mean something else. Gradients and moments are of these rows alone.
 */
import { andThen } from "../core/awaitable.ts";
import type { Model } from "../models/model.ts";
import { moduleOf } from "../models/tensor_names.ts";
import { storedTensor, weightsByName } from "../models/vocabulary.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { readFloatsInto } from "../tensor/read_tensor.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Floats, RowOverlay, Weight } from "../tensor/tensor.ts";
import type { Adapter, AdapterParams, AdapterSizes, ParameterSize, WeightChange } from "./adapter.ts";
import { adapterWeight, dropWeights, holdWeights } from "./dense_weights.ts";
import { weightParameter } from "./model_tensors.ts";

/** The rows of one table. */
export interface TokenRows {
  /** Name of the table's tensor: the embedding's, or the head's. */
  readonly tensor: string;
  /** Ids of tokens, each once, in the order in which their rows are saved. */
  readonly ids: readonly number[];
}

/** The tables that have trained rows. */
export interface TokenTables {
  /** One or two. */
  readonly rows: readonly TokenRows[];
  /** Names of tied heads: those that follow the embedding's rows, and those that have rows of their own and are tied no more. */
  readonly follows: string | null;
  readonly apart: string | null;
}

/** PEFT's name of the rows that stand in the place of some of a table's, in files of a LoRA. */
export function tokenRowsName(tensor: string): string {
  return `base_model.model.${moduleOf(tensor)}.token_adapter.trainable_tokens_delta`;
}

/** What trains the rows of tables. */
export function tokenRowsAdapter(tables: TokenTables): Adapter {
  const { rows, follows } = tables;
  const copies = follows === null
    ? null
    : rows.map(({ tensor }) => [tokenRowsName(tensor), [tokenRowsName(follows)]] as const);
  const adapter: Adapter = {
    kind: "token rows",
    config: {},
    sites: ["weights"],
    placements: ["device"],
    ...(copies && { copies: new Map(copies) }),
    sizes: (model) => rowSizes(tables, model),
    create: (k, model, tokensPerStep) => createRows(k, adapter, tables, model, tokensPerStep > 0),
  };
  return adapter;
}

function rowSizes({ rows }: TokenTables, model: Model): AdapterSizes {
  const weights = weightsByName(model);
  const parameters = rows.map(({ tensor, ids }): ParameterSize => {
    const { cols } = weights.get(tensor) as Weight;
    const count = ids.length * cols;
    return { name: tokenRowsName(tensor), shape: [ids.length, cols], count, rows: null, trained: true };
  });
  return { parameters, rows: null, replaces: rows.map(({ tensor }) => tensor) };
}

/** A table with rows in the place of some of its own. */
interface OverlaidTable extends Weight {
  readonly overlay: RowOverlay;
}

function createRows(
  k: Kernels,
  adapter: Adapter,
  { rows, apart }: TokenTables,
  model: Model,
  trained: boolean,
): AdapterParams {
  const bases = weightsByName(model);
  const tables = rows.map(({ tensor, ids }): OverlaidTable => {
    const base = bases.get(tensor) as Weight;
    const weight = adapterWeight(k, tokenRowsName(tensor), ids.length, base.cols, trained);
    return { ...base, overlay: { rows: Int32Array.from(ids), weight } };
  });
  const weights = tables.map(({ overlay }) => overlay.weight);
  holdWeights(k, weights);
  return {
    adapter,
    // A matrix stays one when it has one row.
    parameters: weights.map((weight) => ({ ...weightParameter(weight), shape: [weight.rows, weight.cols] })),
    byLayer: [],
    init: (k) => tables.forEach((table) => startRows(k, table, bases.get(table.name) as Weight)),
    attach: replacing(new Map(tables.map((table) => [table.name, table]))),
    merge: (k) => tables.map((table) => mergedRows(k, model, table, table.name === apart)),
    ...(apart !== null && { mergedConfig: { tie_word_embeddings: false } }),
    activeNeurons: () => 0,
    release: () => dropWeights(k, weights),
  };
}

/** The same map at every call. */
function replacing(replace: ReadonlyMap<string, Weight>): AdapterParams["attach"] {
  return () => ({ hooks: {}, replace });
}

/** The rows start as the table has them. @mutates the rows */
function startRows(k: Kernels, { overlay: { rows, weight } }: OverlaidTable, base: Weight): void {
  k.embeddingForward(weight.data as Floats, rows, base, false);
}

/** @param isNew Whether the checkpoint lacks the table, which was the embedding until now */
function mergedRows(
  k: Kernels,
  model: Model,
  { name, rows: count, cols, overlay: { rows, weight } }: OverlaidTable,
  isNew: boolean,
): WeightChange {
  return {
    name,
    ...(isNew && { shape: [count, cols] }),
    apply: (values) => {
      if (isNew) readFloatsInto(values, storedTensor(model, name) as TensorEntry);
      return andThen(
        k.read(weight.data as Floats),
        (own) => rows.forEach((row, i) => values.set(own.subarray(i * cols, (i + 1) * cols), row * cols)),
      );
    },
  };
}
