// SPDX-License-Identifier: Apache-2.0
/** SHA-256 of files. */
import { createHash } from "node:crypto";
import { readPieces } from "./read.ts";

/** SHA-256 of a file's bytes, in hexadecimal. */
export async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of readPieces(path)) hash.update(piece);
  return hash.digest("hex");
}
