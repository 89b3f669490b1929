// SPDX-License-Identifier: Apache-2.0
/**
 * Saved adapters: `adapter_model.safetensors` and `adapter_config.json`, PEFT's names. Loading is strict: a missing or
 * unknown tensor or another shape is an error. Another base model of the same shapes is told, not refused.
 */
import { join } from "node:path";
import { throwIfAny, UserError } from "../../core/errors.ts";
import { isJsonObject, type JsonObject } from "../../core/json.ts";
import { writeTokenizerFiles } from "../../data/tokenizer_files.ts";
import type { Model, ModelConfig } from "../../models/model.ts";
import { vocabularyTables } from "../../models/vocabulary.ts";
import { type Parameter, parameterShape } from "../../optim/parameters.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { saysNotFound } from "../../files/errors.ts";
import { makeFolder } from "../../files/folders.ts";
import { fileHash } from "../../files/hash.ts";
import { isThereSync, listFolderSync, readJsonSync } from "../../files/read.ts";
import { writeTextAtomically } from "../../files/write.ts";
import { readSafetensorsHeader, type SafetensorsFile } from "../../tensor/safetensors.ts";
import type { Floats } from "../../tensor/tensor.ts";
import { type TensorSource, writeSafetensors } from "../../tensor/write_safetensors.ts";
import type { Adapter, AdapterParams } from "../adapter.ts";
import { resolveAdapter } from "../registry.ts";
import { type BaseIdentity, baseRecord } from "./base_model.ts";
import { type AdapterDescription, type AdapterFormat, shown } from "./file_format.ts";
import { MEFT_FORMAT } from "./meft_format.ts";
import { PEFT_LORA_FORMAT } from "./peft_lora_format.ts";
import { PEFT_TOKENS_FORMAT } from "./peft_tokens_format.ts";
import {
  byParameter,
  checkAdapterTensors,
  readAdapterInto,
  ROWS_PER_PIECE,
  type SavedAdapter,
  vocabularyProblem,
} from "./saved_adapter.ts";
import { taskType } from "./task_types.ts";
import { savedTables, tableSources } from "./vocabulary_tables.ts";

/** Files of a saved adapter. */
export const ADAPTER_TENSORS = "adapter_model.safetensors";
/** @see ADAPTER_TENSORS */
export const ADAPTER_CONFIG = "adapter_config.json";
/** A Python pickle: reading it can run any code. */
const PICKLE = "adapter_model.bin";
const TOKENIZER = "tokenizer.json";

/** Kinds that have a format of PEFT's own; all others are in ours. */
const PEFT_FORMATS: Readonly<Record<string, AdapterFormat>> = {
  lora: PEFT_LORA_FORMAT,
  tokens: PEFT_TOKENS_FORMAT,
};
const FORMATS: readonly AdapterFormat[] = [MEFT_FORMAT, ...Object.values(PEFT_FORMATS)];

/**
 * Writes the adapter into a folder, which is made if needed. The configuration is written last; our own holds
 * the hash of the tensors, so that files that do not belong together are found when loading. Of several adapters that were
 * trained as one the others are written beside it: `adapter`, `adapter-2`, …
 *
 * @throws {UserError} When the disk is full
 */
export async function saveAdapterFiles(
  model: SavedModel,
  params: AdapterParams,
  base: BaseIdentity,
  folder: string,
): Promise<void> {
  for (const [i, part] of (params.parts ?? [params]).entries()) {
    await saveOne(model, part, base, i === 0 ? folder : `${folder}-${i + 1}`);
  }
}

/** What is saved of a model beside its adapter: a vocabulary that its checkpoint lacks, as PEFT saves it, and its tokenizer. */
export type SavedModel = Pick<Model, "kernels" | "config" | "vocabulary">;

async function saveOne(
  { kernels: k, config: modelConfig, vocabulary }: SavedModel,
  params: AdapterParams,
  base: BaseIdentity,
  folder: string,
): Promise<void> {
  const { adapter, parameters } = params;
  await makeFolder(folder);
  const path = join(folder, ADAPTER_TENSORS);
  const format = formatOf(params);
  const tensors = parameters.flatMap((parameter) => {
    const { name } = parameter;
    const copies = adapter.copies?.get(name) ?? [];
    const source = tensorSource(k, parameter);
    return namesIn(format, name, copies, vocabulary !== undefined).map((name) => ({ ...source, name }));
  });
  const tables = vocabulary ? tableSources(vocabulary, params, vocabularyTables(modelConfig)) : [];
  const besides = tables.flatMap((table) =>
    namesIn(format, table.name, [], true).map((name) => ({ ...table, name }))
  );
  const record = baseRecord(base, folder);
  await writeSafetensors(path, [...tensors, ...besides], format.metadata(record));
  if (vocabulary?.tokenizer) {
    await writeTokenizerFiles(folder, vocabulary.tokenizer.files, vocabulary.tokenizer.className);
  }
  const facts = { base: record, tensorsHash: await fileHash(path), taskType: taskType(modelConfig) };
  const config = format.config(params, facts);
  await writeTextAtomically(join(folder, ADAPTER_CONFIG), JSON.stringify(config, null, 2) + "\n");
}

function namesIn(
  format: AdapterFormat,
  name: string,
  copies: readonly string[],
  isGrown: boolean,
): readonly string[] {
  return format.tensorNames?.(name, copies, isGrown) ?? [name];
}

function formatOf(params: AdapterParams): AdapterFormat {
  const format = params.adapter.wiring === undefined ? PEFT_FORMATS[params.adapter.kind] : undefined;
  return format?.holds?.(params) === false ? MEFT_FORMAT : format ?? MEFT_FORMAT;
}

function tensorSource(k: Kernels, parameter: Parameter): TensorSource {
  const data = parameter.kind === "dense"
    ? () => [k.read(parameter.data)]
    : () => rowPieces(k, parameter.matrix);
  return { name: parameter.name, dtype: k.float, shape: parameterShape(parameter), data };
}

type Matrix = Extract<Parameter, { kind: "rows" }>["matrix"];

/** The rows as floats. Each piece is valid until the next one is asked for. */
function* rowPieces(k: Kernels, matrix: Matrix): Generator<Floats> {
  const buffer = k.floats(Math.min(matrix.rows, ROWS_PER_PIECE) * matrix.cols);
  for (let row = 0; row < matrix.rows; row += ROWS_PER_PIECE) {
    const piece = buffer.subarray(0, Math.min(ROWS_PER_PIECE, matrix.rows - row) * matrix.cols);
    k.rowMatrixRead(piece, matrix, row);
    yield piece;
  }
}

/**
 * Opens a saved adapter.
 *
 * @throws {UserError} When the folder holds no adapter, or a damaged one, or one that is not supported
 */
export async function openAdapterFiles(folder: string): Promise<SavedAdapter> {
  const fields = readConfigFields(folder);
  const path = join(folder, ADAPTER_TENSORS);
  refusePickle(folder);
  const file = readSafetensorsHeader(path);
  const { kind, options, source, base, head, tensorsHash, parameterName } = describe(folder, fields, file);
  const hash = await fileHash(path);
  if (tensorsHash !== null && hash !== tensorsHash) {
    throw new UserError(
      `Adapter ${folder} is damaged: ${ADAPTER_TENSORS} has the hash ${
        hash.slice(0, 12)
      }, its configuration says ` +
        `${tensorsHash.slice(0, 12)}; save or copy it again`,
    );
  }
  const tensors = byParameter(file, folder, parameterName);
  return {
    folder,
    spec: { kind, options, ...(source && { source }) },
    base,
    head,
    tensors,
    vocabulary: savedTables(tensors.tensors, options["modulesToSave"]),
    tokenizer: isThereSync(join(folder, TOKENIZER)) ? folder : null,
    tensorsHash: hash,
  };
}

/** @throws {UserError} When the tensors are there as a pickle alone */
function refusePickle(folder: string): void {
  const here = listFolderSync(folder).map(({ name }) => name);
  if (here.includes(ADAPTER_TENSORS) || !here.includes(PICKLE)) return;
  throw new UserError(
    `Adapter ${folder} has its tensors in ${PICKLE}, a Python pickle, which is not read here because reading it can run ` +
      `any code. Where you trust it, convert it: python -c "import sys, torch; from safetensors.torch import save_file; ` +
      `d = sys.argv[1] + '/'; t = torch.load(d + '${PICKLE}', map_location='cpu', weights_only=True); ` +
      `save_file({k: v.contiguous() for k, v in t.items()}, d + '${ADAPTER_TENSORS}', metadata={'format': 'pt'})" ` +
      `${folder}`,
  );
}

/** One sentence that names both models and hashes, when an adapter was trained on another model; else null. */
export function otherBaseNotice(saved: SavedAdapter, { name, hash }: BaseIdentity): string | null {
  const { base } = saved;
  if (base.hash === null || base.hash === hash) return null;
  const [trainedOn, given] = [base.hash, hash].map((text) => text.slice(0, 12));
  return `Adapter ${saved.folder} was trained on ${
    base.name ?? "a model without a name"
  } (hash ${trainedOn}), ` +
    `not on ${name} (hash ${given}): what it learnt may mean nothing there`;
}

/** Choices of {@linkcode loadAdapterFiles}. */
export interface LoadAdapterOptions {
  /** Called with one sentence that names both models and hashes, when the adapter was trained on another one. */
  readonly onOtherBase?: (notice: string) => void;
}

/**
 * Reads a saved adapter for inference.
 *
 * @param from Its folder, or what {@linkcode openAdapterFiles} made of that
 * @throws {UserError} When the folder holds no adapter, a file is damaged, or a tensor is missing, unknown or of another
 *   shape
 */
export async function loadAdapterFiles(
  k: Kernels,
  model: Model,
  identity: BaseIdentity,
  from: string | SavedAdapter,
  options: LoadAdapterOptions = {},
): Promise<AdapterParams> {
  const saved = typeof from === "string" ? await openAdapterFiles(from) : from;
  const notice = otherBaseNotice(saved, identity);
  if (notice !== null) options.onOtherBase?.(notice);
  throwIfAny(`Adapter ${saved.folder}`, vocabularyProblem(saved, model));
  const adapter = resolveSaved(saved, model.config);
  checkAdapterTensors(saved, adapter, model);
  const params = adapter.create(k, model, 0);
  readAdapterInto(model, saved, params);
  return Object.assign(params, { source: saved.tensors.path });
}

function resolveSaved({ spec, folder }: SavedAdapter, model: ModelConfig): Adapter {
  const { adapter, problems } = resolveAdapter(spec, model);
  throwIfAny(`${ADAPTER_CONFIG} of adapter ${folder}`, problems);
  return adapter;
}

function readConfigFields(folder: string): JsonObject {
  const path = join(folder, ADAPTER_CONFIG);
  let value: unknown;
  try {
    value = readJsonSync(path);
  } catch (error) {
    if (saysNotFound(error)) {
      throw new UserError(
        `There is no adapter in ${folder}: ${ADAPTER_CONFIG} does not exist${adapterWithin(folder)}`,
      );
    }
    throw error;
  }
  if (!isJsonObject(value)) throw new UserError(`${path} holds no JSON object`);
  return value;
}

/** ` (there is one in runs/facts/adapter)`, where a folder within holds what was looked for. */
function adapterWithin(folder: string): string {
  try {
    const within = listFolderSync(folder).filter(({ isDirectory }) => isDirectory)
      .map(({ name }) => join(folder, name))
      .find((path) => listFolderSync(path).some(({ name }) => name === ADAPTER_CONFIG));
    return within === undefined ? "" : ` (there is one in ${within})`;
  } catch {
    return "";
  }
}

/** @throws {ValidationError} Listing everything that is wrong with the configuration */
function describe(
  folder: string,
  fields: JsonObject,
  { metadata, tensors }: SafetensorsFile,
): AdapterDescription {
  const format = FORMATS.find(({ peftType }) => peftType === fields["peft_type"]);
  const problems: string[] = [];
  if (!format) {
    const known = FORMATS.map(({ peftType }) => `"${peftType}"`).join(" or ");
    problems.push(`"peft_type" is ${shown(fields["peft_type"])}, expected ${known}`);
  }
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
  // What else is wrong with it can only be told by the rules of some format.
  const description = (format ?? MEFT_FORMAT).read(fields, { metadata, shapes }, problems);
  throwIfAny(join(folder, ADAPTER_CONFIG), problems);
  return description;
}
