// SPDX-License-Identifier: Apache-2.0
/** What headers of all formats are read with. */
import type { Size } from "./image.ts";

/** What a header says. */
export interface FoundHeader extends Size {
  /** Of EXIF, 1 to 8: how the picture is to be turned before it is shown. */
  readonly orientation: number;
}

/** Why a file that ends too early is no picture. */
export const CUT_SHORT = "it is cut short";

/** Bytes as Latin-1; fewer where they end. */
export function textAt(view: DataView, at: number, length: number): string {
  const end = Math.min(at + length, view.byteLength);
  return String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, Math.max(0, end - at)));
}
