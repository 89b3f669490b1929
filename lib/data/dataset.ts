// SPDX-License-Identifier: Apache-2.0
/** A tokenised data set, kept compactly: 5 bytes a token, 20 bytes an example. */
import { createHash } from "node:crypto";
import { hostArray } from "../native/host_memory.ts";
import type { Example } from "./examples.ts";
import type { Masking } from "./masking.ts";
import type { DataWarning } from "./row_warnings.ts";
import type { ImageReader } from "./images/image_files.ts";
import type { BadRow, RowPlace } from "./rows.ts";

/** What reading gave: `rowsRead = rowsUsed + badRows.length`, unless only the first rows are used. */
export interface ReadReport {
  readonly rowsRead: number;
  readonly rowsUsed: number;
  /** In the order read, with the reason of each. */
  readonly badRows: readonly BadRow[];
}

/** What loading a data set gave. A row gives one example, or several. */
export interface DataReport extends ReadReport {
  /** What is worth a look before training. */
  readonly warnings: readonly DataWarning[];
  /** Examples cut to seqLen, of all rows. */
  readonly truncatedRows: number;
  /** Tokens cut off them, all together. */
  readonly cutTokens: number;
  /** Tokens kept. */
  readonly tokens: number;
  /** Of those, targets of the loss. */
  readonly targets: number;
}

/** What each example as a whole is compared with. */
export type ExampleLabels =
  | {
    readonly kind: "classes";
    /** (n) number of the class. */
    readonly of: Int32Array;
    /** Of the classes, by their number. */
    readonly names: readonly string[];
  }
  | {
    readonly kind: "values";
    /** (n). */
    readonly of: Float64Array;
  };

/** Pictures of examples, which are decoded when a batch asks for them. */
export interface ExamplePictures {
  readonly reader: ImageReader;
  /** (n) */
  readonly paths: readonly string[];
  /** (n) SHA-256 of their bytes, in hexadecimal. */
  readonly hashes: readonly string[];
}

/** n examples of T tokens together. */
export interface Dataset {
  /** (T) int32; empty where there are pictures. */
  readonly ids: Int32Array;
  /** (T): 1 where the token is a target; empty where there are pictures. */
  readonly lossMask: Uint8Array;
  /** (n+1) example i is tokens [offsets[i], offsets[i+1]). */
  readonly offsets: Float64Array;
  readonly files: readonly string[];
  /** (n) index in `files`. */
  readonly fileOf: Uint32Array;
  /** (n) line in that file, from 1. */
  readonly lineOf: Uint32Array;
  /** (n) file of each, where rows are files of their own, else "". Absent where none is. */
  readonly pathOf?: readonly string[];
  /** (n) tokens cut off its end. */
  readonly cutOf: Uint32Array;
  /** Longest length an example may have. */
  readonly seqLen: number;
  /** Absent where the targets are tokens. */
  readonly labels?: ExampleLabels;
  /** Absent where examples are texts. */
  readonly pictures?: ExamplePictures;
  /** (n) tokens of an example before those that the model is told are of a second text. Absent where there are none. */
  readonly secondFrom?: Uint32Array;
  /** How tokens are asked for where they are: of those with a 1 in `lossMask`. Absent where they are the next ones. */
  readonly masking?: Masking;
  readonly report: DataReport;
}

/** Number of examples. */
export function exampleCount(dataset: Dataset): number {
  return dataset.offsets.length - 1;
}

/** Tokens of example i. */
export function exampleLength(dataset: Dataset, i: number): number {
  return (dataset.offsets[i + 1] as number) - (dataset.offsets[i] as number);
}

/** Where example i was read. */
export function examplePlace(dataset: Dataset, i: number): RowPlace {
  const place = {
    file: dataset.files[dataset.fileOf[i] as number] as string,
    line: dataset.lineOf[i] as number,
  };
  const path = dataset.pathOf?.[i] || null;
  return path === null ? place : { ...place, path };
}

/** The examples of the first rows of a data set, `count` at most; tokens and targets of its report are theirs. */
export function firstRows(dataset: Dataset, count: number): Dataset {
  let [kept, rows] = [0, 0];
  for (; kept < exampleCount(dataset); kept++) {
    const sameRow = kept > 0 && dataset.lineOf[kept] === dataset.lineOf[kept - 1] &&
      dataset.fileOf[kept] === dataset.fileOf[kept - 1];
    if (sameRow) continue;
    if (rows === count) break;
    rows++;
  }
  const tokens = dataset.offsets[kept] as number;
  const lossMask = dataset.lossMask.subarray(0, tokens);
  const { labels, pictures } = dataset;
  return {
    ...dataset,
    ...(pictures && {
      pictures: {
        ...pictures,
        paths: pictures.paths.slice(0, kept),
        hashes: pictures.hashes.slice(0, kept),
      },
    }),
    ...(dataset.secondFrom && { secondFrom: dataset.secondFrom.subarray(0, kept) }),
    ...(dataset.pathOf && { pathOf: dataset.pathOf.slice(0, kept) }),
    ...(labels && { labels: { ...labels, of: labels.of.subarray(0, kept) } as ExampleLabels }),
    ids: dataset.ids.subarray(0, tokens),
    lossMask,
    offsets: dataset.offsets.subarray(0, kept + 1),
    fileOf: dataset.fileOf.subarray(0, kept),
    lineOf: dataset.lineOf.subarray(0, kept),
    cutOf: dataset.cutOf.subarray(0, kept),
    report: {
      ...dataset.report,
      rowsUsed: rows,
      truncatedRows: dataset.cutOf.subarray(0, kept).filter((cut) => cut > 0).length,
      cutTokens: dataset.cutOf.subarray(0, kept).reduce((sum, cut) => sum + cut, 0),
      tokens,
      targets: labels ? kept : lossMask.reduce((sum, target) => sum + target, 0),
    },
  };
}

/**
 * SHA-256 of tokens, pictures, masks, labels and boundaries, in hexadecimal: equal exactly when training would see the same examples
 * in the same order. Files may have moved.
 */
export function datasetHash(dataset: Dataset): string {
  const hash = createHash("sha256");
  const lengths = Int32Array.from({ length: exampleCount(dataset) }, (_, i) => exampleLength(dataset, i));
  const { labels, secondFrom, masking } = dataset;
  const rest = [labels?.of, secondFrom, masking && Int32Array.of(masking.maskId, masking.vocabSize)];
  for (const part of [lengths, dataset.ids, dataset.lossMask, ...rest]) {
    if (part === undefined) continue;
    hash.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  }
  for (const picture of dataset.pictures?.hashes ?? []) hash.update(picture);
  return hash.digest("hex");
}

/** Grows the arrays of a data set by doubling. */
export class DatasetBuilder {
  readonly #files: readonly string[];
  readonly #fileIndex: ReadonlyMap<string, number>;
  #ids: Int32Array = new Int32Array(1024);
  #lossMask: Uint8Array = new Uint8Array(1024);
  readonly #offsets: number[] = [0];
  readonly #fileOf: number[] = [];
  readonly #lineOf: number[] = [];
  readonly #pathOf: string[] = [];
  readonly #cutOf: number[] = [];
  #targets = 0;

  constructor(files: readonly string[]) {
    this.#files = files;
    this.#fileIndex = new Map(files.map((file, i) => [file, i]));
  }

  add(example: Example, place: RowPlace): void {
    const start = this.#offsets.at(-1) as number;
    const end = start + example.ids.length;
    if (end > this.#ids.length) this.#grow(Math.max(end, 2 * this.#ids.length));
    this.#ids.set(example.ids, start);
    this.#lossMask.set(example.lossMask, start);
    this.#offsets.push(end);
    this.#fileOf.push(this.#fileIndex.get(place.file) as number);
    this.#lineOf.push(place.line);
    this.#pathOf.push(place.path ?? "");
    this.#cutOf.push(example.cutTokens);
    for (const target of example.lossMask) this.#targets += target;
  }

  finish(seqLen: number, report: ReadReport & Pick<DataReport, "warnings">): Dataset {
    const tokens = this.#offsets.at(-1) as number;
    return {
      ids: this.#ids.slice(0, tokens),
      lossMask: this.#lossMask.slice(0, tokens),
      offsets: Float64Array.from(this.#offsets),
      files: this.#files,
      fileOf: Uint32Array.from(this.#fileOf),
      lineOf: Uint32Array.from(this.#lineOf),
      ...(this.#pathOf.some((path) => path !== "") && { pathOf: this.#pathOf }),
      cutOf: Uint32Array.from(this.#cutOf),
      seqLen,
      report: {
        ...report,
        truncatedRows: this.#cutOf.filter((cut) => cut > 0).length,
        cutTokens: this.#cutOf.reduce((sum, cut) => sum + cut, 0),
        tokens,
        targets: this.#targets,
      },
    };
  }

  #grow(capacity: number): void {
    const what = "the data's tokens";
    const [ids, lossMask] = [hostArray(Int32Array, capacity, what), hostArray(Uint8Array, capacity, what)];
    ids.set(this.#ids);
    lossMask.set(this.#lossMask);
    [this.#ids, this.#lossMask] = [ids, lossMask];
  }
}
