// SPDX-License-Identifier: Apache-2.0
/**
 * Saved adapters: `adapter_model.safetensors` and `adapter_config.json`, PEFT's names. Loading is strict: a missing or
 * unknown tensor or another shape is an error. Another base model of the same shapes is told, not refused.
 */
import { join } from "node:path";
import { throwIfAny, UserError } from "../../core/errors.ts";
import { isJsonObject, type JsonObject } from "../../core/json.ts";
import { formatShape } from "../../core/shape.ts";
import type { HeadConfig } from "../../models/heads/head_config.ts";
import type { Model, ModelConfig } from "../../models/model.ts";
import { type Parameter, parameterShape } from "../../optim/parameters.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { writeFloats } from "../../ops/model_memory.ts";
import { saysNotFound } from "../../files/errors.ts";
import { makeFolder } from "../../files/folders.ts";
import { fileHash } from "../../files/hash.ts";
import { listFolderSync, readJsonSync } from "../../files/read.ts";
import { writeTextAtomically } from "../../files/write.ts";
import { readFloatsInto } from "../../tensor/read_tensor.ts";
import { readSafetensorsHeader, type SafetensorsFile, type TensorEntry } from "../../tensor/safetensors.ts";
import type { Floats } from "../../tensor/tensor.ts";
import { type TensorSource, writeSafetensors } from "../../tensor/write_safetensors.ts";
import type { Adapter, AdapterParams, ParameterSize } from "../adapter.ts";
import { type BaseIdentity, baseRecord, type SavedBase } from "./base_model.ts";
import { type AdapterDescription, type AdapterFormat, shown } from "./file_format.ts";
import { MEFT_FORMAT } from "./meft_format.ts";
import { PEFT_LORA_FORMAT } from "./peft_lora_format.ts";
import { PEFT_TOKENS_FORMAT } from "./peft_tokens_format.ts";
import { type AdapterSpec, resolveAdapter } from "../registry.ts";

/** Files of a saved adapter. */
export const ADAPTER_TENSORS = "adapter_model.safetensors";
/** @see ADAPTER_TENSORS */
export const ADAPTER_CONFIG = "adapter_config.json";
/** A Python pickle: reading it can run any code. */
const PICKLE = "adapter_model.bin";

/** Kinds that have a format of PEFT's own; all others are in ours. */
const PEFT_FORMATS: Readonly<Record<string, AdapterFormat>> = {
  lora: PEFT_LORA_FORMAT,
  tokens: PEFT_TOKENS_FORMAT,
};
const FORMATS: readonly AdapterFormat[] = [MEFT_FORMAT, ...Object.values(PEFT_FORMATS)];
/** Rows that are joined from their planes at a time. */
const ROWS_PER_PIECE = 1024;
/** Tensors that an error lists; a model of another size has hundreds that do not fit. */
const LISTED = 40;

/**
 * Writes the adapter into a folder, which is made if needed. The configuration is written last; our own holds
 * the hash of the tensors, so that files that do not belong together are found when loading. Of several adapters that were
 * trained as one the others are written beside it: `adapter`, `adapter-2`, …
 *
 * @throws {UserError} When the disk is full
 */
export async function saveAdapterFiles(
  k: Kernels,
  params: AdapterParams,
  base: BaseIdentity,
  folder: string,
): Promise<void> {
  for (const [i, part] of (params.parts ?? [params]).entries()) {
    await saveOne(k, part, base, i === 0 ? folder : `${folder}-${i + 1}`);
  }
}

async function saveOne(k: Kernels, params: AdapterParams, base: BaseIdentity, folder: string): Promise<void> {
  const { adapter, parameters } = params;
  await makeFolder(folder);
  const path = join(folder, ADAPTER_TENSORS);
  const format = formatOf(params);
  const tensors = parameters.flatMap((parameter) => {
    const { name } = parameter;
    const copies = adapter.copies?.get(name) ?? [];
    const source = tensorSource(k, parameter);
    return (format.tensorNames?.(name, copies) ?? [name]).map((name) => ({ ...source, name }));
  });
  const record = baseRecord(base, folder);
  await writeSafetensors(path, tensors, format.metadata(record));
  const config = format.config(params, record, await fileHash(path));
  await writeTextAtomically(join(folder, ADAPTER_CONFIG), JSON.stringify(config, null, 2) + "\n");
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

/** A saved adapter that was opened and found whole; its tensors are still in the file. */
export interface SavedAdapter {
  readonly folder: string;
  readonly spec: AdapterSpec;
  readonly base: SavedBase;
  /** That its model had, where that is no language model's: it is to be opened with it. */
  readonly head: HeadConfig | null;
  /** By the names of the parameters that they hold. */
  readonly tensors: SafetensorsFile;
  readonly tensorsHash: string;
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
  return {
    folder,
    spec: { kind, options, ...(source && { source }) },
    base,
    head,
    tensors: byParameter(file, folder, parameterName),
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

/** @throws {ValidationError} When two tensors hold the same parameter */
function byParameter(
  file: SafetensorsFile,
  folder: string,
  parameterName: (name: string) => string | null,
): SafetensorsFile {
  const problems: string[] = [];
  const tensors = new Map<string, TensorEntry>();
  for (const [given, entry] of file.tensors) {
    const name = parameterName(given);
    if (name === null) continue;
    const other = tensors.get(name);
    if (other) problems.push(`tensors "${other.name}" and "${entry.name}" are the same one twice`);
    tensors.set(name, entry);
  }
  throwIfAny(`Adapter ${folder}`, problems);
  return { ...file, tensors };
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

/**
 * Checks that a saved adapter has the tensors of an adapter on a model, before memory is taken for them.
 *
 * @throws {ValidationError} When tensors are missing, unknown or of another shape: all of them
 */
export function checkAdapterTensors(saved: SavedAdapter, adapter: Adapter, model: Model): void {
  const { parameters } = adapter.sizes(model, 0);
  throwIfAny(`Adapter ${saved.folder}`, tensorProblems(ofWhole(saved, adapter, parameters), parameters));
}

/**
 * The values of a saved adapter into parameters made for it.
 *
 * @throws {ValidationError} When tensors are missing, unknown or of another shape: all of them @mutates params
 */
export function readAdapterInto(k: Kernels, saved: SavedAdapter, params: AdapterParams): void {
  const sizes = params.parameters.map((parameter) => ({
    name: parameter.name,
    shape: parameterShape(parameter),
  }));
  const tensors = ofWhole(saved, params.adapter, sizes);
  throwIfAny(`Adapter ${saved.folder}`, tensorProblems(tensors, sizes));
  for (const parameter of params.parameters) readParameter(k, tensors, parameter);
}

/** What stands before the names of modules, and the first part of these, which those of a bare model lack. */
const PREFIX = /^(base_model\.model\.)[^.]+\./;

/**
 * The tensors of a saved adapter by the names of the parameters they hold: where PEFT made it for the bare model within a
 * causal language model, and without what a tied head has of its embedding.
 *
 * @throws {ValidationError} When two tensors hold the same parameter
 */
function ofWhole(
  { spec, tensors: file, folder }: SavedAdapter,
  { copies }: Pick<Adapter, "copies">,
  parameters: readonly { readonly name: string }[],
): SafetensorsFile {
  if (spec.source?.by !== "peft") return file;
  const bare = new Map(parameters.map(({ name }) => [name.replace(PREFIX, "$1"), name]));
  const twice = new Set([...copies?.values() ?? []].flat());
  return byParameter(file, folder, (name) => twice.has(name) ? null : bare.get(name) ?? name);
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
  const adapter = resolveSaved(saved, model.config);
  checkAdapterTensors(saved, adapter, model);
  const params = adapter.create(k, model, 0);
  readAdapterInto(k, saved, params);
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

function tensorProblems(
  file: SafetensorsFile,
  sizes: readonly Pick<ParameterSize, "name" | "shape">[],
): string[] {
  const problems: string[] = [];
  const wanted = new Map(sizes.map(({ name, shape }) => [name, shape]));
  for (const [name, shape] of wanted) {
    const entry = file.tensors.get(name);
    if (!entry) problems.push(`tensor "${name}" ${formatShape(shape)} is missing`);
    else if (formatShape(entry.shape) !== formatShape(shape)) {
      problems.push(
        `tensor "${entry.name}" has shape ${formatShape(entry.shape)}, expected ${formatShape(shape)}`,
      );
    } else if (!READABLE.has(entry.dtype)) {
      problems.push(`tensor "${entry.name}" is ${entry.dtype}, expected ${[...READABLE].join(", ")}`);
    }
  }
  for (const [name, entry] of file.tensors) {
    if (!wanted.has(name)) {
      problems.push(`tensor "${entry.name}" is unknown: the adapter has no place for it`);
    }
  }
  const more = problems.length - LISTED;
  return more > 1 ? [...problems.slice(0, LISTED), `and ${more} more of the kind`] : problems;
}

/** Types of tensors that are widened to floats. */
const READABLE: ReadonlySet<string> = new Set(["f32", "bf16", "f16", "f64"]);

/** @mutates parameter */
function readParameter(k: Kernels, file: SafetensorsFile, parameter: Parameter): void {
  const entry = file.tensors.get(parameter.name);
  if (!entry) throw new RangeError(`Tensor "${parameter.name}" is not in ${file.path}`);
  if (parameter.kind === "dense") {
    return writeFloats(k, parameter.data, (floats) => readFloatsInto(floats, entry));
  }
  const { matrix } = parameter;
  // A piece of the tensor is a tensor of fewer rows, further on in the file.
  const rowBytes = entry.bytes / Math.max(1, matrix.rows);
  for (let row = 0; row < matrix.rows; row += ROWS_PER_PIECE) {
    const rows = Math.min(ROWS_PER_PIECE, matrix.rows - row);
    const piece = k.floats(rows * matrix.cols);
    const bytes = rows * rowBytes;
    const offsetBytes = entry.offsetBytes + row * rowBytes;
    readFloatsInto(piece, { ...entry, shape: [rows, matrix.cols], offsetBytes, bytes });
    k.rowMatrixWrite(matrix, piece, row);
  }
}
