// SPDX-License-Identifier: Apache-2.0
/**
 * Saved adapters: `adapter_model.safetensors` and `adapter_config.json`, PEFT's names. Loading is strict: a missing or
 * unknown tensor or another shape is an error. Another base model of the same shapes is told, not refused.
 */
import { join } from "node:path";
import { throwIfAny, UserError } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { formatShape } from "../core/shape.ts";
import type { Model } from "../models/model.ts";
import { type Parameter, parameterCount, parameterShape } from "../optim/parameters.ts";
import type { Kernels } from "../ops/kernels.ts";
import { makeFolder, writeTextAtomically } from "../tensor/atomic_file.ts";
import { fileHash } from "../tensor/file_hash.ts";
import { readFloatsInto } from "../tensor/read_tensor.ts";
import { readSafetensorsHeader, type SafetensorsFile } from "../tensor/safetensors.ts";
import type { Floats } from "../tensor/tensor.ts";
import { type TensorSource, writeSafetensors } from "../tensor/write_safetensors.ts";
import type { AdapterParams } from "./adapter.ts";
import { resolveAdapter } from "./registry.ts";

/** Files of a saved adapter. */
export const ADAPTER_TENSORS = "adapter_model.safetensors";
/** @see ADAPTER_TENSORS */
export const ADAPTER_CONFIG = "adapter_config.json";

const PEFT_TYPE = "MEFT";
const FORMAT_VERSION = 1;
/** Rows that are joined from their planes at a time. */
const ROWS_PER_PIECE = 1024;

/** The model an adapter belongs to. */
export interface BaseIdentity {
  /** Folder or name, for people. */
  readonly name: string;
  /** Tells whether it is the same model. */
  readonly hash: string;
}

/**
 * Writes the adapter into a folder, which is made if needed. The configuration, written last, holds the hash of the
 * tensors: files that do not belong together are found when loading.
 *
 * @throws {UserError} When the disk is full
 */
export async function saveAdapterFiles(
  k: Kernels,
  params: AdapterParams,
  base: BaseIdentity,
  folder: string,
): Promise<void> {
  const { adapter, parameters } = params;
  await makeFolder(folder);
  const path = join(folder, ADAPTER_TENSORS);
  await writeSafetensors(path, parameters.map((parameter) => tensorSource(k, parameter)), { format: "meft" });
  const config = {
    peft_type: PEFT_TYPE,
    format_version: FORMAT_VERSION,
    adapter: adapter.kind,
    sites: adapter.sites,
    settings: adapter.config,
    parameters: parameters.reduce((sum, parameter) => sum + parameterCount(parameter), 0),
    base_model_name_or_path: base.name,
    base_model_hash: base.hash,
    adapter_model_sha256: await fileHash(path),
  };
  await writeTextAtomically(join(folder, ADAPTER_CONFIG), JSON.stringify(config, null, 2) + "\n");
}

function tensorSource(k: Kernels, parameter: Parameter): TensorSource {
  const data = parameter.kind === "dense" ? parameter.data : () => rowPieces(k, parameter.matrix);
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

/** Choices of {@linkcode loadAdapterFiles}. */
export interface LoadAdapterOptions {
  /** Called with one sentence that names both models and hashes, when the adapter was trained on another one. */
  readonly onOtherBase?: (notice: string) => void;
}

/**
 * Reads a saved adapter for inference.
 *
 * @throws {UserError} When the folder holds no adapter, a file is damaged, or a tensor is missing, unknown or of another
 *   shape
 */
export async function loadAdapterFiles(
  k: Kernels,
  model: Model,
  identity: BaseIdentity,
  folder: string,
  options: LoadAdapterOptions = {},
): Promise<AdapterParams> {
  const config = readAdapterConfig(folder);
  const subject = `Adapter ${folder}`;
  if (config.baseHash !== identity.hash) {
    const [trainedOn, given] = [config.baseHash, identity.hash].map((hash) => hash.slice(0, 12));
    options.onOtherBase?.(
      `${subject} was trained on ${config.baseName} (hash ${trainedOn}), not on ${identity.name} (hash ${given}): ` +
        `what it learnt may mean nothing there`,
    );
  }
  const { adapter, problems } = resolveAdapter(
    { kind: config.kind, options: config.settings },
    model.config,
  );
  throwIfAny(`${ADAPTER_CONFIG} of ${subject}`, problems);
  const path = join(folder, ADAPTER_TENSORS);
  const file = readSafetensorsHeader(path);
  const hash = await fileHash(path);
  if (hash !== config.tensorsHash) {
    throw new UserError(
      `${subject} is damaged: ${ADAPTER_TENSORS} has the hash ${hash.slice(0, 12)}, its configuration says ` +
        `${config.tensorsHash.slice(0, 12)}; save or copy it again`,
    );
  }
  const params = adapter.create(k, model, 0);
  throwIfAny(subject, tensorProblems(file, params.parameters));
  for (const parameter of params.parameters) readParameter(k, file, parameter);
  return params;
}

interface AdapterConfig {
  readonly kind: string;
  readonly settings: JsonObject;
  readonly baseName: string;
  readonly baseHash: string;
  readonly tensorsHash: string;
}

function readAdapterConfig(folder: string): AdapterConfig {
  const path = join(folder, ADAPTER_CONFIG);
  let value: unknown;
  try {
    value = JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new UserError(`There is no adapter in ${folder}: ${ADAPTER_CONFIG} does not exist`);
    }
    throw new UserError(`${path} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  const problems: string[] = [];
  const fields = isJsonObject(value) ? value : {};
  const text = (name: string): string => {
    const field = fields[name];
    if (typeof field === "string") return field;
    problems.push(`"${name}" is ${JSON.stringify(field) ?? "missing"}, expected a string`);
    return "";
  };
  if (fields["peft_type"] !== PEFT_TYPE) {
    problems.push(
      `"peft_type" is ${JSON.stringify(fields["peft_type"]) ?? "missing"}, expected "${PEFT_TYPE}"`,
    );
  }
  if (fields["format_version"] !== FORMAT_VERSION) {
    problems.push(
      `"format_version" is ${
        JSON.stringify(fields["format_version"]) ?? "missing"
      }, this version reads ${FORMAT_VERSION}`,
    );
  }
  const settings = fields["settings"];
  if (!isJsonObject(settings)) problems.push(`"settings" is not an object`);
  const config = {
    kind: text("adapter"),
    settings: isJsonObject(settings) ? settings : {},
    baseName: text("base_model_name_or_path"),
    baseHash: text("base_model_hash"),
    tensorsHash: text("adapter_model_sha256"),
  };
  throwIfAny(path, problems);
  return config;
}

function tensorProblems(file: SafetensorsFile, parameters: readonly Parameter[]): string[] {
  const problems: string[] = [];
  const wanted = new Map(parameters.map((parameter) => [parameter.name, parameterShape(parameter)]));
  for (const [name, shape] of wanted) {
    const entry = file.tensors.get(name);
    if (!entry) problems.push(`tensor "${name}" ${formatShape(shape)} is missing`);
    else if (formatShape(entry.shape) !== formatShape(shape)) {
      problems.push(`tensor "${name}" has shape ${formatShape(entry.shape)}, expected ${formatShape(shape)}`);
    }
  }
  for (const name of file.tensors.keys()) {
    if (!wanted.has(name)) problems.push(`tensor "${name}" is unknown: the adapter has no place for it`);
  }
  return problems;
}

/** @mutates parameter */
function readParameter(k: Kernels, file: SafetensorsFile, parameter: Parameter): void {
  const entry = file.tensors.get(parameter.name);
  if (!entry) throw new RangeError(`Tensor "${parameter.name}" is not in ${file.path}`);
  if (parameter.kind === "dense") return readFloatsInto(parameter.data, entry);
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
