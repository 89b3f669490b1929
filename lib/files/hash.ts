// SPDX-License-Identifier: Apache-2.0
/** SHA-256 of files. */
import { createHash } from "node:crypto";
import { named } from "./errors.ts";
import { openToRead } from "./read.ts";

const PIECE_BYTES = 1 << 20;

/** SHA-256 of a file's bytes, in hexadecimal. */
export async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await openToRead(path);
  const piece = new Uint8Array(PIECE_BYTES);
  for (;;) {
    const count = await named("read", path, () => file.read(piece));
    if (count === null) return hash.digest("hex");
    hash.update(piece.subarray(0, count));
  }
}
