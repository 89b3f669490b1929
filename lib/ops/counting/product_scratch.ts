// SPDX-License-Identifier: Apache-2.0
/** Scratch of matrix products, by the block sizes of csrc/cpu/kernels/product.cpp. */

/** What the sizes of products' scratch depend on. */
export interface ProductPlace {
  readonly threads: number;
  /** Of products: activations are stored as this. */
  readonly compute: "f32" | "bf16";
  /** What products read; f32 for bf16 where the machine does not multiply that. */
  readonly operandDType: "f32" | "bf16";
  /** Floats of a vector register. */
  readonly lanes: number;
  /** Columns that are multiplied at once. */
  readonly panelColumns: number;
  /** Rows that are cut at once. */
  readonly rowBlock: number;
  /** Bytes of a row between cuts of its terms. */
  readonly depthBytes: number;
  /** Whether bf16 is multiplied in matrix tiles. */
  readonly inTiles: boolean;
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
const COPY_BYTES = 16 * 2 ** 20;
const PACKED_BYTES = 2 ** 20;
const NARROW_COLUMNS = 192;
const NARROW_BYTES = 512 * 2 ** 10;
const LINE_BYTES = 64;
/** Of matrix tiles: rows that lie so many bytes apart are copied where enough columns share the copy. */
const CROWDED_BYTES = 2048;
const CROWDED_COLUMNS = 512;
/** Multiply-adds that one thread does alone, whatever there are: kSerialWork of product.h. */
const SERIAL_WORK = 2 ** 18;

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

/** Whole vectors of columns. */
function padded({ lanes }: ProductPlace, columns: number): number {
  return Math.ceil(columns / lanes) * lanes;
}

/** Of `wide_product`: the copied block of A, and for each thread packed columns of B and sums that are rounded. */
export function wideProductBytes(place: ProductPlace, product: ProductSize): number {
  const { m, n, k, rounds = false } = product;
  const [operand, { threads, rowBlock }] = [operandBytes(place), place];
  const depth = place.depthBytes / operand;
  const block = Math.min(m, WIDE_ROWS);
  const copies = product.copies || isCrowded(place, product);
  const span = copies ? Math.min(k, copiedSpan(place, block)) : k;
  const line = LINE_BYTES / operand;
  const copied = copies ? block * (Math.ceil(span / line) * line + line) * operand : 0;
  const cut = Math.min(span, depth);
  const most = Math.min(WIDE_COLUMNS, Math.floor(PACKED_BYTES / (cut * operand)));
  const grid = wideGrid(place, { m: block, n, k: span }, Math.floor(most / place.panelColumns));
  const width = padded(place, grid.columns);
  const height = span > depth ? grid.rows : 3 * rowBlock;
  return together(copied, threads * cut * width * operand, rounds ? threads * height * width * 4 : 0);
}

/** Whether rows of A, as far apart as they have terms, are copied though they are operands as they lie. */
function isCrowded(place: ProductPlace, { m, n, k, rounds = false }: ProductSize): boolean {
  const operand = operandBytes(place);
  if (!place.inTiles || operand !== 2 || n < CROWDED_COLUMNS || k * operand % CROWDED_BYTES !== 0) {
    return false;
  }
  return !rounds || k <= copiedSpan(place, Math.min(m, WIDE_ROWS));
}

/** `wide_grid`: rows and columns of the largest task. Strips of columns get narrower, so that threads end together. */
function wideGrid(
  place: ProductPlace,
  { m, n, k }: { readonly m: number; readonly n: number; readonly k: number },
  widestPanels: number,
): { readonly rows: number; readonly columns: number } {
  const serial = m * n * k <= SERIAL_WORK;
  const workers = serial ? 1 : place.threads;
  const wanted = workers > 1 ? 4 * workers : 1;
  const panels = Math.ceil(n / place.panelColumns);
  const least = panels >= 2 * wanted ? 2 : 1;
  const strip = (left: number): number =>
    Math.min(widestPanels, Math.max(workers > 1 ? Math.floor(left / (2 * workers)) : left, least));
  // Those of full width are counted at once: a rank that nobody has room for would have thousands of millions of them.
  let strips = Math.max(0, Math.floor(panels / widestPanels) - 2 * workers);
  for (let left = panels - strips * widestPanels; left > 0; left -= strip(left)) strips++;
  const down = Math.min(Math.ceil(wanted / Math.max(1, strips)), Math.ceil(m / (2 * place.rowBlock)));
  const rows = serial ? m : Math.ceil(Math.ceil(m / Math.max(1, down)) / place.rowBlock) * place.rowBlock;
  return { rows, columns: Math.min(n, strip(panels) * place.panelColumns) };
}

/** Columns of A that are copied at once. */
export function copiedSpan(place: ProductPlace, block: number): number {
  const operand = operandBytes(place);
  const depth = place.depthBytes / operand;
  return Math.max(depth, Math.floor(COPY_BYTES / operand / Math.max(block, 1) / depth) * depth);
}

/** Of `narrow_product`: all of packed B, and for each thread room for copies of A, needed or not, and a tile of C turned. */
export function narrowProductBytes(place: ProductPlace, { m, n, k }: Omit<ProductSize, "copies">): number {
  const operand = operandBytes(place);
  const widest = padded(place, Math.min(n, NARROW_COLUMNS));
  const depth = Math.min(4096, Math.max(256, Math.floor(NARROW_BYTES / operand / widest / 64) * 64));
  const copied = place.rowBlock * (depth + LINE_BYTES / operand) * operand;
  const group = m * n * k <= SERIAL_WORK ? m : 2 * place.rowBlock;
  return together(k * widest * operand, place.threads * copied, place.threads * group * widest * 4);
}
