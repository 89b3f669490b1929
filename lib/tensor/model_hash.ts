// SPDX-License-Identifier: Apache-2.0
/** A hash of base models too large to be read whole. */
import { createHash, type Hash } from "node:crypto";
import { basename, join } from "node:path";
import { throwIfAny } from "../core/errors.ts";
import { readBytesSync } from "../files/read.ts";
import { indexCheckpoint } from "./checkpoint_index.ts";
import { openForReading, readBytesAt, type SafetensorsFile } from "./safetensors.ts";

const SAMPLE_BYTES = 4096;
const SAMPLES_PER_FILE = 256;

/**
 * A hash that tells base models apart without reading gigabytes: SHA-256 over `config.json` and, for each weight file by
 * name, its name, size, header (names, dtypes, shapes, offsets) and 256 samples of 4 KiB spread evenly over its data.
 * Files of up to 1 MiB of data are covered whole. It does not cover the tokenizer, and a change of a few weights of a
 * large file can go unseen: it guards against the wrong model, not against tampering.
 *
 * @throws {ValidationError} When weight files are missing or malformed
 */
export function modelHash(folder: string): string {
  const problems: string[] = [];
  const { files } = indexCheckpoint(folder, problems);
  throwIfAny(`Model folder ${folder}`, problems);
  const hash = createHash("sha256");
  hash.update(readBytesSync(join(folder, "config.json")));
  for (const file of files) hashFile(hash, file);
  return hash.digest("hex");
}

/** @mutates hash */
function hashFile(hash: Hash, { path, fileBytes, headerBytes }: SafetensorsFile): void {
  hash.update(`${basename(path)}\n${fileBytes}\n${headerBytes}\n`);
  const file = openForReading(path);
  try {
    const update = (begin: number, count: number): void => {
      const bytes = new Uint8Array(count);
      readBytesAt(file, path, bytes, begin);
      hash.update(bytes);
    };
    update(0, headerBytes);
    const dataBytes = fileBytes - headerBytes;
    if (dataBytes <= SAMPLES_PER_FILE * SAMPLE_BYTES) return update(headerBytes, dataBytes);
    const last = dataBytes - SAMPLE_BYTES;
    for (let i = 0; i < SAMPLES_PER_FILE; i++) {
      update(headerBytes + Math.floor((last * i) / (SAMPLES_PER_FILE - 1)), SAMPLE_BYTES);
    }
  } finally {
    file.close();
  }
}
