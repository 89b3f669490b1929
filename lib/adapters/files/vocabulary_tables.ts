// SPDX-License-Identifier: Apache-2.0
/**
 * The tables of a vocabulary in the file of an adapter whose model has more tokens than its checkpoint, by PEFT's names: it saves
 * embedding and head beside what was trained (`save_embedding_layers="auto"`), and loads them into a model of that size.
 */
import type { Json } from "../../core/json.ts";
import type { ModelConfig, ModelVocabulary } from "../../models/model.ts";
import { basePrefix, moduleOf } from "../../models/tensor_names.ts";
import { tiedHead, type VocabularyTables } from "../../models/vocabulary.ts";
import { readBytes } from "../../tensor/read_tensor.ts";
import type { TensorEntry } from "../../tensor/safetensors.ts";
import type { TensorSource } from "../../tensor/write_safetensors.ts";
import type { WeightDType } from "../../core/dtype.ts";
import type { AdapterParams } from "../adapter.ts";
import { tokenRowsName } from "../token_rows.ts";

const ROOT = "base_model.model.";

/** Where PEFT keeps what a module was before: of a table with trained rows, of one that is trained whole. */
const BEFORE =
  /(?:\.token_adapter)?\.base_layer(?=\.(?:weight|bias)$)|\.original_module(?=\.(?:weight|bias)$)/;

/** What is trained whole, once more. */
const AGAIN = /\.modules_to_save(\.(?:weight|bias))$/;

/** The tables as they are saved: PEFT's names, of a tied head what the embedding has once more; bytes as the model has them. */
export function tableSources(
  { tables }: ModelVocabulary,
  { adapter, parameters }: AdapterParams,
  known: VocabularyTables | null,
): TensorSource[] {
  const held = new Set([
    ...parameters.map(({ name }) => name),
    ...[...adapter.copies?.values() ?? []].flat(),
  ]);
  const named = [...tables].flatMap(([name, entry]) =>
    (known?.tied && known.head !== null && name === known.embedding ? [name, known.head] : [name])
      .map((own) => [own, entry] as const)
  );
  return named.flatMap(([tensor, entry]): TensorSource[] => {
    const module = `${ROOT}${moduleOf(tensor)}`;
    const part = tensor.slice(moduleOf(tensor).length);
    if (held.has(`${module}${part}`)) return [];
    const within = held.has(tokenRowsName(tensor)) ? ".token_adapter.base_layer" : "";
    return [{
      name: `${module}${within}${part}`,
      dtype: entry.dtype as WeightDType,
      shape: entry.shape,
      data: () => [readBytes(entry)],
    }];
  });
}

/** What may be tables in the file of an adapter, by the names of the model's tensors. */
export interface SavedTables {
  /** Matrices and vectors of whole modules, as they were beside what is trained. */
  readonly tables: ReadonlyMap<string, TensorEntry>;
  /** Rows of those that are trained whole. */
  readonly trainedRows: ReadonlyMap<string, number>;
}

/**
 * Finds what may be tables: which of them are tells the model.
 *
 * @param modulesToSave Ends of names of modules that were trained whole
 */
export function savedTables(
  tensors: ReadonlyMap<string, TensorEntry>,
  modulesToSave: Json | undefined,
): SavedTables {
  const whole = [modulesToSave ?? []].flat();
  const [tables, trainedRows] = [new Map<string, TensorEntry>(), new Map<string, number>()];
  for (const [name, entry] of tensors) {
    if (
      !name.startsWith(ROOT) || !/\.(weight|bias)$/.test(name) || AGAIN.test(name) || /\.lora_/.test(name)
    ) continue;
    const own = name.slice(ROOT.length).replace(BEFORE, "");
    const isTrained = !BEFORE.test(name) && whole.some((end) => moduleOf(own).endsWith(String(end)));
    if (isTrained) trainedRows.set(own, entry.shape[0] ?? 0);
    else tables.set(own, entry);
  }
  return { tables, trainedRows };
}

/** The tables of a model as files may name them: of the whole model, or the bare one. */
export function tableNames({ tables }: ModelVocabulary, config: ModelConfig): ReadonlySet<string> {
  const prefix = basePrefix(config);
  const all = [...tables.keys(), tiedHead(config) ?? []].flat();
  return new Set(all.flatMap((name) => name.startsWith(prefix) ? [name, name.slice(prefix.length)] : [name]));
}

/** Whether a tensor of a file is one of the model's tables, or what is trained whole once more. */
export function isTable(name: string, tables: ReadonlySet<string>): boolean {
  if (!name.startsWith(ROOT)) return false;
  return tables.has(name.slice(ROOT.length).replace(BEFORE, "").replace(AGAIN, "$1"));
}
