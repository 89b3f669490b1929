// SPDX-License-Identifier: Apache-2.0
/**
 * The table of a `Precompiled` normalizer (sentencepiece's: a double array trie over UTF-8 bytes, and the texts that
 * its leaves point into), checked before the library walks it: it trusts every offset and ends the process at a wrong one.
 *
 * A unit of the trie is a u32: the label in bits 0 to 7 and 31, "has a leaf" in bit 8, the offset to the block of its
 * children in bits 10 to 30, times 256 when bit 9 is set. A leaf's unit is a value.
 */

const LABEL = 0x800000ff;
const HAS_LEAF = 1 << 8;

/** Real tables have a quarter of a mebibyte. */
const MOST_BYTES = 2 ** 24;

/** What is wrong with a table in base64; null when nothing is. */
export function charsmapProblem(base64: unknown): string | null {
  if (typeof base64 !== "string") return "is no text";
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = Uint8Array.fromBase64(base64);
  } catch {
    return "is not base64";
  }
  if (bytes.length < 4) return "is too short";
  const view = new DataView(bytes.buffer);
  const trieBytes = view.getUint32(0, true);
  if (trieBytes % 4 !== 0 || trieBytes === 0 || 4 + trieBytes > bytes.length || trieBytes > MOST_BYTES) {
    return "has a table of a wrong size";
  }
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const texts = bytes.subarray(4 + trieBytes);
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(texts);
  } catch {
    return "has texts that are not UTF-8";
  }
  return trieIsSound(units, texts) ? null : "points outside itself";
}

/** Walks every node that some text can reach. */
function trieIsSound(units: Uint32Array, texts: Uint8Array): boolean {
  const seen = new Uint8Array(units.length);
  const open: number[] = [childBlock(0, units[0] as number)];
  while (open.length > 0) {
    const block = open.pop() as number;
    for (let byte = 1; byte < 256; byte++) {
      const node = block ^ byte;
      if (node >= units.length) return false;
      const unit = units[node] as number;
      if (((unit & LABEL) >>> 0) !== byte || seen[node] === 1) continue;
      seen[node] = 1;
      const children = childBlock(node, unit);
      if ((unit & HAS_LEAF) !== 0 && !leafIsSound(units[children], texts)) return false;
      open.push(children);
    }
  }
  return true;
}

function childBlock(node: number, unit: number): number {
  return (node ^ ((unit >>> 10) << ((unit & (1 << 9)) >>> 6))) >>> 0;
}

/** A leaf points at the beginning of a character, or at the end. */
function leafIsSound(unit: number | undefined, texts: Uint8Array): boolean {
  if (unit === undefined) return false;
  const at = unit & 0x7fffffff;
  return at <= texts.length && (at === texts.length || ((texts[at] as number) & 0xc0) !== 0x80);
}
