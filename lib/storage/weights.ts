// SPDX-License-Identifier: Apache-2.0
/** How a frozen weight is kept: dense, in the checkpoint's own bytes. */
import type { WeightDType } from "../core/dtype.ts";
import { UserError } from "../core/errors.ts";
import { hostArray } from "../native/host_memory.ts";
import { account } from "../native/ledger.ts";
import { MappedFile } from "../native/mapped_file.ts";
import type { Device } from "../ops/kernels/device.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { readFloatsInto } from "../tensor/read_tensor.ts";
import type { CheckpointIndex } from "../tensor/checkpoint_index.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import { numel, type Weight } from "../tensor/tensor.ts";

/** Where the weights of one model come from. Disposing it closes its files: no weight of it may be used afterwards. */
export interface WeightSource extends Disposable {
  /**
   * A weight as stored, frozen: a matrix (rows, cols), or a vector as (1, cols).
   *
   * @throws {UserError} When no backend can read its dtype, naming it
   */
  load(entry: TensorEntry): Weight;
}

/** Types of weights that every backend reads. */
const READABLE: readonly string[] = ["f32", "bf16", "f16", "f64"] satisfies WeightDType[];

/** What is wrong with a tensor's dtype for this backend, or null. */
export function weightDTypeProblem(kernels: Pick<Kernels, "backend">, entry: TensorEntry): string | null {
  if (READABLE.includes(entry.dtype)) return null;
  return `Tensor "${entry.name}" of ${entry.path} is ${entry.dtype}: the ${kernels.backend} backend reads ${
    READABLE.join(", ")
  }`;
}

/**
 * Bytes that the weights of a checkpoint take: files are mapped as they are, but what no kernel multiplies with (f64) is read
 * and rounded to f32. What no file has is held as it is.
 */
export function weightBytes({ files, tensors }: CheckpointIndex): number {
  const weights = [...tensors.values()];
  const isMapped = (entry: TensorEntry): boolean => !isNarrowed(entry) && entry.memory === undefined;
  const held = weights.filter((entry) => !isMapped(entry))
    .reduce((sum, entry) => sum + (isNarrowed(entry) ? entry.bytes / 2 : entry.bytes), 0);
  const mapped = new Set(weights.filter(isMapped).map(({ path }) => path));
  return files.reduce((sum, file) => sum + (mapped.has(file.path) ? file.fileBytes : 0), held);
}

/** Whether a weight is held in a narrower type than it is stored in, unless all is computed in f64. */
function isNarrowed({ dtype }: TensorEntry): boolean {
  return dtype === "f64";
}

/**
 * Weights for these kernels: memory-mapped where the model's memory is the host's, never copied; copied to a device once, as
 * stored; read into f64 for what computes in that. Those of f64 are rounded to f32 for all others.
 *
 * @mutates kernels.ledger: mapped files and read weights count as "weights" until the source is disposed
 */
export function openWeights(kernels: Kernels): WeightSource {
  if (kernels.device !== null) return uploadedWeights(kernels, kernels.device);
  return kernels.float === "f64" ? widenedWeights(kernels) : mappedWeights(kernels);
}

/** Bytes that go up at once. */
const UPLOAD_BYTES = 1 << 24;

function uploadedWeights(kernels: Kernels, device: Device): WeightSource {
  const blocks: ArrayBuffer[] = [];
  const files = new DisposableStack();
  const mapped = new Map<string, MappedFile>();
  const fileOf = (path: string): MappedFile => {
    const known = mapped.get(path);
    if (known !== undefined) return known;
    const opened = files.use(MappedFile.open(path));
    mapped.set(path, opened);
    return opened;
  };
  return {
    load(entry) {
      const shape = weightShape(kernels, entry);
      const elements = shape.rows * shape.cols;
      const bytes = elements * (shape.dtype === "f32" ? 4 : 2);
      const block = device.reserve(bytes, "weights");
      blocks.push(block);
      if (isNarrowed(entry)) {
        const data = new Float32Array(block);
        device.copy(data, narrowedValues(entry));
        return { ...shape, data, mapped: null, grad: null };
      }
      const { memory } = entry;
      const file = memory ? null : fileOf(entry.path);
      for (let begin = 0; begin < bytes; begin += UPLOAD_BYTES) {
        const count = Math.min(UPLOAD_BYTES, bytes - begin);
        const piece = memory?.subarray(begin, begin + count) ?? file?.read(entry.offsetBytes + begin, count);
        device.copy(new Uint8Array(block, begin, count), piece as Uint8Array<ArrayBuffer>);
      }
      const data = shape.dtype === "f32" ? new Float32Array(block) : new Uint16Array(block);
      return { ...shape, data, mapped: null, grad: null };
    },
    [Symbol.dispose]() {
      files.dispose();
      for (const block of blocks.splice(0)) device.release(block);
    },
  };
}

function mappedWeights(kernels: Kernels): WeightSource {
  const owned = new DisposableStack();
  const files = new Map<string, MappedFile>();
  let heldBytes = 0;
  return {
    load(entry) {
      const shape = weightShape(kernels, entry);
      if (isNarrowed(entry)) {
        const data = narrowedValues(entry);
        account(kernels.ledger, "weights", data.byteLength);
        heldBytes += data.byteLength;
        return { ...shape, data, mapped: null, grad: null };
      }
      if (entry.memory) {
        account(kernels.ledger, "weights", entry.bytes);
        heldBytes += entry.bytes;
        const { buffer } = entry.memory;
        const data = shape.dtype === "f32" ? new Float32Array(buffer) : new Uint16Array(buffer);
        return { ...shape, data, mapped: null, grad: null };
      }
      let file = files.get(entry.path);
      if (file === undefined) {
        file = owned.use(MappedFile.open(entry.path, kernels.ledger));
        files.set(entry.path, file);
      }
      return {
        ...shape,
        data: null,
        mapped: { handle: file.handle, offsetBytes: entry.offsetBytes },
        grad: null,
      };
    },
    [Symbol.dispose]() {
      owned.dispose();
      account(kernels.ledger, "weights", -heldBytes);
      heldBytes = 0;
    },
  };
}

function narrowedValues(entry: TensorEntry): Float32Array {
  const values = hostArray(Float32Array, numel(entry.shape), `tensor "${entry.name}" of ${entry.path}`);
  readFloatsInto(values, entry);
  return values;
}

function widenedWeights(kernels: Kernels): WeightSource {
  let bytes = 0;
  return {
    load(entry) {
      const shape = weightShape(kernels, entry);
      const data = new Float64Array(numel(entry.shape));
      readFloatsInto(data, entry);
      account(kernels.ledger, "weights", data.byteLength);
      bytes += data.byteLength;
      return { ...shape, dtype: "f64", data, mapped: null, grad: null };
    },
    [Symbol.dispose]() {
      account(kernels.ledger, "weights", -bytes);
      bytes = 0;
    },
  };
}

function weightShape(
  kernels: Kernels,
  entry: TensorEntry,
): Pick<Weight, "name" | "dtype" | "rows" | "cols"> {
  const problem = weightDTypeProblem(kernels, entry);
  if (problem !== null) throw new UserError(problem);
  const [rows = 1, cols = 1] = entry.shape.length === 1 ? [1, ...entry.shape] : entry.shape;
  const dtype = isNarrowed(entry) ? "f32" : entry.dtype as WeightDType;
  return { name: entry.name, dtype, rows, cols };
}
