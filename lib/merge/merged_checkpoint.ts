// SPDX-License-Identifier: Apache-2.0
/** Writes a Hugging Face checkpoint folder that is a base model with changed weights, file by file as the base is. */
import { basename, join, relative } from "node:path";
import type { WeightChange } from "../adapters/adapter.ts";
import { andThen } from "../core/awaitable.ts";
import type { WeightDType } from "../core/dtype.ts";
import { NotFiniteError, throwIfAny, UserError } from "../core/errors.ts";
import { bf16ToFloat, f16ToFloat, floatToBf16, floatToF16 } from "../core/half.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { givesTokens } from "../models/heads/head_config.ts";
import { familyOf } from "../models/families/registry.ts";
import type { Model } from "../models/model.ts";
import { allTensors } from "../models/part_tensors.ts";
import { headNames, storedName } from "../models/tensor_names.ts";
import { copyFile, makeFolder, syncFolder } from "../files/folders.ts";
import { listFolder, readJsonSync, stat } from "../files/read.ts";
import { writeTextAtomically } from "../files/write.ts";
import { hostArray } from "../native/host_memory.ts";
import { readBytes, readFloatsInto } from "../tensor/read_tensor.ts";
import { type SafetensorsFile, storedBytes, type TensorEntry } from "../tensor/safetensors.ts";
import { type Floats, numel, type Weight } from "../tensor/tensor.ts";
import { type TensorSource, writeSafetensors } from "../tensor/write_safetensors.ts";

/** Types a merged checkpoint may be stored in. */
export type MergedDType = Exclude<WeightDType, "f64">;

/** What becomes of a base model. */
export interface MergedModel {
  readonly changes: readonly WeightChange[];
  /** Fields of `config.json` that change. */
  readonly config: JsonObject;
  /** Type of all weights; null keeps each tensor's own. */
  readonly dtype: MergedDType | null;
}

/** What was written. */
export interface WrittenCheckpoint {
  readonly tensors: number;
  readonly changedTensors: number;
  readonly bytes: number;
}

/** Names in `config.json` of the types. */
const CONFIG_DTYPES: Readonly<Record<MergedDType, string>> = {
  f32: "float32",
  bf16: "bfloat16",
  f16: "float16",
};
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** The folder of a tokenizer's further chat templates. */
const TEMPLATES = "additional_chat_templates";
/** Weights in any format with their indexes, and the base's own description: what is not copied. */
const NOT_COPIED =
  /\.(safetensors|bin|pt|pth|gguf|h5|msgpack|onnx)$|\.index\.json$|^config\.json$|^README|^\./;

/**
 * Writes weights, `config.json` and whatever else the base folder holds at its top (tokenizer, templates, generation
 * settings), and its further chat templates, into a folder that exists and is empty. A tensor lives in memory only while it is written.
 *
 * @throws {UserError} When a value does not fit the type, naming tensor and value, or the disk is full
 * @throws {NotFiniteError} When a value that changes, or changes its type, is not finite
 */
export async function writeMergedCheckpoint(
  model: Model,
  merged: MergedModel,
  folder: string,
): Promise<WrittenCheckpoint> {
  const changes = new Map(merged.changes.map((change) => [change.name, change]));
  const files = mergedFiles(model, changes, merged.dtype);
  const weightMap: Record<string, string> = {};
  let bytes = 0;
  for (const { name, tensors } of files) {
    await writeSafetensors(join(folder, name), tensors, { format: "pt" });
    for (const tensor of tensors) weightMap[tensor.name] = name;
    bytes += tensors.reduce((sum, { dtype, shape }) => sum + storedBytes(dtype, shape), 0);
  }
  if (files.length > 1) {
    await writeJson(join(folder, INDEX), { metadata: { total_size: bytes }, weight_map: weightMap });
  }
  await writeJson(join(folder, "config.json"), mergedConfig(model, merged));
  await copyOtherFiles(model.dir, folder);
  return { tensors: Object.keys(weightMap).length, changedTensors: changes.size, bytes };
}

interface MergedFile {
  readonly name: string;
  readonly tensors: readonly TensorSource[];
}

/**
 * The base's files with their tensors changed, under the names that checkpoints of the whole model have; tensors that the base lacks come last. What
 * stands beside the model's own tensors is kept as it is.
 */
function mergedFiles(
  model: Model,
  changes: ReadonlyMap<string, WeightChange>,
  dtype: MergedDType | null,
): MergedFile[] {
  const weights = new Set(allTensors(model.parts).map(({ name }) => name));
  // A tied head is the embedding: a copy that older writers stored would be stale.
  const staleHead = model.config.tieWordEmbeddings ? headNames(model.config)[0] : null;
  const source = (entry: TensorEntry): TensorSource => {
    const change = changes.get(entry.name);
    const target = weights.has(entry.name) ? dtype ?? entry.dtype : entry.dtype;
    if (change === undefined && target === entry.dtype) {
      const { name, shape } = entry;
      return { name, dtype: entry.dtype, shape, data: () => [readBytes(entry)] };
    }
    return changedTensor(entry, change, target as WeightDType);
  };
  const files = model.checkpoint.files.map((file: SafetensorsFile) => ({
    name: mergedName(model, file),
    tensors: [...file.tensors.values()].filter(({ name }) => name !== staleHead).map(source),
  }));
  const added = [...changes.values()].filter(({ name }) => !model.checkpoint.tensors.has(name));
  // In the type of the tensors around them.
  const addedDType = dtype ?? (allTensors(model.parts)[0] as Weight).dtype;
  files.at(-1)?.tensors.push(...added.map((change) => changedTensor(null, change, addedDType)));
  const stored = (tensor: TensorSource) => ({ ...tensor, name: storedName(model.config, tensor.name) });
  return files.map(({ name, tensors }) => ({ name, tensors: tensors.map(stored) }));
}

/** A file's name in the one folder that is written: a lone one needs no index, others may come from folders inside. */
function mergedName({ dir, checkpoint: { files } }: Model, { path }: SafetensorsFile): string {
  if (files.length === 1) return SINGLE;
  const alike = files.filter((file) => basename(file.path) === basename(path));
  return alike.length === 1 ? basename(path) : relative(dir, path).replaceAll("/", "-");
}

/** A tensor computed in f64 and rounded once. @param entry Null when the base has no such tensor */
function changedTensor(
  entry: TensorEntry | null,
  change: WeightChange | undefined,
  dtype: WeightDType,
): TensorSource {
  const name = (entry ?? change)?.name as string;
  // Of as many elements the checkpoint keeps its own dimensions, as those of a convolution.
  const grows = change?.shape !== undefined && entry !== null && numel(change.shape) !== numel(entry.shape);
  const shape = entry === null || grows ? change?.shape : entry.shape;
  if (shape === undefined) {
    throw new RangeError(`Merging changes "${name}", which the checkpoint lacks, and gives no shape`);
  }
  return {
    name,
    dtype,
    shape,
    data: () => {
      const values = grownValues(entry, shape);
      return [andThen(change?.apply(values), () => rounded(name, values, dtype))];
    },
  };
}

/** Who asks for memory here. */
const MERGED = "a tensor to merge";

/** The tensor's values in the corner of a tensor of this shape. */
function grownValues(entry: TensorEntry | null, shape: readonly number[]): Float64Array {
  const values = hostArray(Float64Array, numel(shape), MERGED);
  if (entry === null) return values;
  if (numel(entry.shape) === values.length) {
    readFloatsInto(values, entry);
    return values;
  }
  const before = hostArray(Float64Array, numel(entry.shape), MERGED);
  readFloatsInto(before, entry);
  const [cols, wide] = [entry.shape.at(-1) ?? 1, shape.at(-1) ?? 1];
  for (let row = 0; row < before.length / cols; row++) {
    values.set(before.subarray(row * cols, (row + 1) * cols), row * wide);
  }
  return values;
}

type Rounding = { readonly bits: (x: number) => number; readonly value: (bits: number) => number };

const HALVES: Readonly<Record<"bf16" | "f16", Rounding>> = {
  bf16: { bits: floatToBf16, value: bf16ToFloat },
  f16: { bits: floatToF16, value: f16ToFloat },
};

function rounded(name: string, values: Float64Array, dtype: WeightDType): Floats | Uint16Array {
  const half = dtype === "f32" || dtype === "f64" ? null : HALVES[dtype];
  if (dtype === "f64" && values.every(Number.isFinite)) return values;
  const out = hostArray<Uint16Array | Float32Array>(half ? Uint16Array : Float32Array, values.length, MERGED);
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number;
    out[i] = half ? half.bits(x) : x;
    const stored = half ? half.value(out[i] as number) : out[i] as number;
    if (Number.isFinite(stored)) continue;
    if (!Number.isFinite(x)) throw new NotFiniteError(`Tensor "${name}" would be merged to ${x}`);
    throw new UserError(
      `Tensor "${name}": ${x} is no number that ${dtype} can hold; store the model in another type`,
    );
  }
  return out;
}

function mergedConfig(model: Model, { config, dtype }: MergedModel): JsonObject {
  const path = join(model.dir, "config.json");
  const base: unknown = readJsonSync(path);
  throwIfAny(path, isJsonObject(base) ? [] : ["is no JSON object"]);
  // Of a head of tokens that differs from the embedding: engines that believe the field would drop it.
  const untied = (base as JsonObject)["tie_word_embeddings"] === true && !model.config.tieWordEmbeddings &&
    givesTokens(model.config.head);
  const fields = {
    ...base as JsonObject,
    ...(untied && { tie_word_embeddings: false }),
    ...config,
    ...keptArchitectures(model, base as JsonObject),
  };
  if (dtype === null) return fields;
  // Newer writers call the field dtype, all readers know torch_dtype.
  const dtypeField = "dtype" in fields ? "dtype" : "torch_dtype";
  return { ...fields, [dtypeField]: CONFIG_DTYPES[dtype] };
}

/** The base's own class where its head is of the same kind: a family may have several, with tensors of other names. */
function keptArchitectures({ config }: Model, { architectures }: JsonObject): JsonObject {
  const { heads } = familyOf(config);
  const names = [architectures ?? []].flat();
  const isOwn = names.some((name) => heads[String(name)] === config.head.kind);
  return isOwn && architectures !== undefined ? { architectures } : {};
}

/** Links to files are followed, as the cache of the Hugging Face hub has them; what is no file (a pipe) is left. */
async function copyOtherFiles(from: string, to: string): Promise<void> {
  for (const { name, isDirectory } of await listFolder(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if (isDirectory && name === TEMPLATES) {
      await makeFolder(target);
      await copyOtherFiles(source, target);
    } else if (!isDirectory && !NOT_COPIED.test(name) && (await stat(source)).isFile) {
      await copyFile(source, target);
    }
  }
  await syncFolder(to);
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeTextAtomically(path, JSON.stringify(value, null, 2) + "\n");
}
