// SPDX-License-Identifier: Apache-2.0
/** Scratch of matrix products, foretold by the block sizes of csrc/cpu/kernels/product.cpp; where the instruction set matters, AVX-512. */

/** What the sizes of products' scratch depend on. */
export interface ProductPlace {
  readonly threads: number;
  /** Of products: activations are stored as this. */
  readonly compute: "f32" | "bf16";
  /** What products read; f32 for bf16 where the machine does not multiply that. */
  readonly operandDType: "f32" | "bf16";
}

/** A matrix product C (m,n) = A (m,k) B. */
export interface ProductSize {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Whether A's rows are no operands as they lie: of another type, or transposed. */
  readonly copies: boolean;
  /** Whether sums are rounded to bf16. Default false. */
  readonly rounds?: boolean;
}

/** Block sizes of csrc/cpu/kernels/product.cpp, in rows, columns and bytes, by its names. */
export const WIDE_ROWS = 1056;
const WIDE_COLUMNS = 256;
const DEPTH_BYTES = 2048;
const COPY_BYTES = 16 * 2 ** 20;
const PACKED_BYTES = 2 ** 20;
const ROUNDED_SUMS = 72;
const NARROW_COLUMNS = 192;
const NARROW_BYTES = 512 * 2 ** 10;
const NARROW_ROWS = 48;
const LINE_BYTES = 64;

/** Pieces that are taken together. */
export function together(...pieces: readonly number[]): number {
  return pieces.reduce(
    (sum, bytes) => sum + Math.max(LINE_BYTES, Math.ceil(bytes / LINE_BYTES) * LINE_BYTES),
    0,
  );
}

/** Bytes of an operand of products. */
export function operandBytes({ operandDType }: ProductPlace): number {
  return operandDType === "bf16" ? 2 : 4;
}

/** Whether a matrix of that type must be converted before it is read: bf16 values in f32 are those of no stored type. */
export function isConverted({ compute, operandDType }: ProductPlace, dtype: string): boolean {
  return dtype !== operandDType || compute !== operandDType;
}

/** Of `wide_product`: the copied block of A, and for each thread packed columns of B and sums that are rounded. */
export function wideProductBytes(
  place: ProductPlace,
  { m, n, k, copies, rounds = false }: ProductSize,
): number {
  const [operand, { threads }] = [operandBytes(place), place];
  const depth = DEPTH_BYTES / operand;
  const block = Math.min(m, WIDE_ROWS);
  const span = copies ? Math.min(k, copiedSpan(block, operand)) : k;
  const line = LINE_BYTES / operand;
  const copied = copies ? block * (Math.ceil(span / line) * line + line) * operand : 0;
  const cut = Math.min(span, depth);
  const width = Math.min(WIDE_COLUMNS, Math.floor(PACKED_BYTES / (cut * operand)), Math.ceil(n / 16) * 16);
  const height = span > depth ? block : ROUNDED_SUMS;
  return together(copied, threads * cut * width * operand, rounds ? threads * height * width * 4 : 0);
}

/** Columns of A that are copied at once. */
export function copiedSpan(block: number, operand: number): number {
  const depth = DEPTH_BYTES / operand;
  return Math.max(depth, Math.floor(COPY_BYTES / operand / Math.max(block, 1) / depth) * depth);
}

/** Of `narrow_product`: all of packed B, and for each thread copies of A and a tile of C turned. */
export function narrowProductBytes(place: ProductPlace, { m, n, k, copies }: ProductSize): number {
  const operand = operandBytes(place);
  const widest = Math.ceil(Math.min(n, NARROW_COLUMNS) / 16) * 16;
  const depth = Math.min(4096, Math.max(256, Math.floor(NARROW_BYTES / operand / widest / 64) * 64));
  const copied = copies ? NARROW_ROWS / 2 * (depth + LINE_BYTES / operand) * operand : 0;
  const group = Math.min(m, NARROW_ROWS);
  return together(k * widest * operand, place.threads * copied, place.threads * group * widest * 4);
}
