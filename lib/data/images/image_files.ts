// SPDX-License-Identifier: Apache-2.0
/** Pictures of a data set: each looked at once when data is loaded, and decoded when a batch asks for it. */
import { createHash } from "node:crypto";
import { UserError } from "../../core/errors.ts";
import { assertLength } from "../../core/shape.ts";
import { readBytesSync } from "../../files/read.ts";
import { readHeader } from "./header.ts";
import { ImageError } from "./image.ts";
import { patchCount, patchesInto, patchNumbers, type PatchShape } from "./patches.ts";
import { preprocess } from "./preprocess.ts";
import { type ImageProcessor, outputSize } from "./processor.ts";
import { type Decoders, MOST_IMAGE_BYTES, openDecoders, readImage } from "./read_image.ts";

/** What is known of a picture before it is decoded. */
export interface ExaminedPicture {
  /** SHA-256 of its bytes, in hexadecimal. */
  readonly hash: string;
  readonly pixels: number;
}

/** How pictures become patches. */
export interface ImageReader {
  readonly shape: PatchShape;
  /**
   * Looks at a picture without decoding it.
   *
   * @throws {ImageError} When it is none that is read
   */
  examine(path: string): ExaminedPicture;
  /**
   * Writes what a model takes of a picture.
   *
   * @param hash What `examine` gave: it must be the same picture
   * @param rows (patches, C*P*P) f32, written
   * @throws {UserError} Naming the file, when it cannot be read or has changed
   */
  read(path: string, hash: string, rows: Float32Array): void;
}

/**
 * Opens the way from files to patches.
 *
 * @param subject What the processor was read from, for errors
 * @throws {UserError} When the processor does not give what the model takes
 */
export async function openImageReader(
  processor: ImageProcessor,
  shape: PatchShape,
  subject: string,
): Promise<ImageReader> {
  checkProcessor(processor, shape, subject);
  const decoders = await openDecoders();
  return {
    shape,
    examine(path) {
      const bytes = readBytesSync(path, MOST_IMAGE_BYTES);
      const { width, height } = readHeader(bytes);
      return { hash: hashOf(bytes), pixels: width * height };
    },
    read(path, hash, rows) {
      assertLength("rows of patches", rows, patchCount(shape) * patchNumbers(shape));
      const bytes = readBytesSync(path, MOST_IMAGE_BYTES);
      if (hashOf(bytes) !== hash) throw new UserError(`Picture "${path}" has changed since it was loaded`);
      try {
        readPatches(bytes, rows, processor, shape, decoders);
      } catch (error) {
        if (!(error instanceof ImageError)) throw error;
        throw new UserError(`Picture "${path}" cannot be read: ${error.message}`);
      }
    },
  };
}

function readPatches(
  bytes: Uint8Array,
  rows: Float32Array,
  processor: ImageProcessor,
  { channels, image: size, patch }: PatchShape,
  decoders: Decoders,
): void {
  const { image, values } = preprocess(readImage(bytes, channels, decoders), processor);
  if (image.width !== size.width || image.height !== size.height) {
    throw new ImageError(
      `it has ${image.width} x ${image.height} pixels, the model takes ${size.width} x ${size.height}`,
    );
  }
  patchesInto(rows, image, values, patch);
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function checkProcessor(processor: ImageProcessor, { channels, image }: PatchShape, subject: string): void {
  const given = outputSize(processor);
  if (processor.resize !== null && given === null) {
    throw new UserError(
      `${subject} resizes pictures to a shortest edge without cropping them, so that they have any size; the model takes ` +
        `${image.width} x ${image.height} pixels, as its positions are not interpolated`,
    );
  }
  if (given !== null && (given.width !== image.width || given.height !== image.height)) {
    throw new UserError(
      `${subject} makes pictures of ${given.width} x ${given.height} pixels, the model takes ${image.width} x ` +
        `${image.height}, as its positions are not interpolated`,
    );
  }
  const values = processor.normalize?.mean.length ?? 1;
  const deviations = processor.normalize?.std.length ?? 1;
  if ([values, deviations].some((count) => count !== 1 && count !== channels)) {
    throw new UserError(
      `${subject} normalises 3 channels, the model takes ${channels}`,
    );
  }
}
