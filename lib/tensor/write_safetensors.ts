// SPDX-License-Identifier: Apache-2.0
/** Writes safetensors files, piece by piece. */
import type { Awaitable } from "../core/awaitable.ts";
import { writeFileAtomically } from "../files/write.ts";
import { storedBytes, type StoredDType } from "./safetensors.ts";

/** A tensor to write. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** The elements, or a function that gives them in pieces, each now or later, so that a large tensor never lives twice. */
  readonly data: ArrayBufferView | (() => Iterable<Awaitable<ArrayBufferView>>);
}

/**
 * Writes a safetensors file atomically (`lib/files/write.ts`). Tensors lie in the order given, which readers
 * want largest element first so that every tensor is aligned; the header is padded to a multiple of 8 bytes.
 *
 * @throws {UserError} When there is no room on the disk
 * @throws {RangeError} When a name comes twice, or data and shape disagree
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set("__metadata__", metadata);
  let end = 0;
  for (const tensor of tensors) {
    if (header.has(tensor.name)) throw new RangeError(`Tensor "${tensor.name}" is given twice for ${path}`);
    const begin = end;
    end += tensorBytes(tensor);
    header.set(tensor.name, {
      dtype: tensor.dtype.toUpperCase(),
      shape: tensor.shape,
      data_offsets: [begin, end],
    });
  }
  const prefix = encodeHeader(header);
  await writeFileAtomically(path, prefix.length + end, async (write) => {
    await write(prefix);
    for (const tensor of tensors) {
      let written = 0;
      const pieces = typeof tensor.data === "function" ? tensor.data() : [tensor.data];
      for await (const piece of pieces) {
        await write(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength));
        written += piece.byteLength;
      }
      if (written !== tensorBytes(tensor)) {
        throw new RangeError(
          `Tensor "${tensor.name}" has ${written} bytes, its shape (${tensor.shape}) needs ${
            tensorBytes(tensor)
          }`,
        );
      }
    }
  });
}

function tensorBytes(tensor: TensorSource): number {
  return storedBytes(tensor.dtype, tensor.shape);
}

function encodeHeader(header: ReadonlyMap<string, unknown>): Uint8Array {
  const fields = [...header].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, 8);
  return bytes;
}
