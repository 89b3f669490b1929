// SPDX-License-Identifier: Apache-2.0
/** A tokenised data set, kept compactly: 5 bytes a token, 20 bytes an example. */
import { createHash } from "node:crypto";
import { hostArray } from "../native/host_memory.ts";
import type { Example } from "./examples.ts";
import type { Masking } from "./masking.ts";
import type { DataWarning } from "./row_warnings.ts";
import type { ImageReader } from "./images/image_files.ts";
import type { BadRow, RowPlace } from "./rows.ts";
import type { ShiftedIn } from "./shift_right.ts";

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
  /** Of the largest. */
  readonly mostPixels: number;
}

/** What encoders read, where examples are what their decoders are to write. */
export interface ExampleSources {
  /** (N) int32 token ids, of all examples. */
  readonly ids: Int32Array;
  /** (n+1) example i is of tokens [offsets[i], offsets[i+1]) of these. */
  readonly offsets: Float64Array;
  /** What a decoder reads before the first token that it is to write. */
  readonly shiftedIn: ShiftedIn;
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
  /** Absent where a model reads what it is to go on with. */
  readonly sources?: ExampleSources;
  readonly report: DataReport;
}

/** Number of examples. */
export function exampleCount(dataset: Dataset): number {
  return dataset.offsets.length - 1;
}

/** Tokens of example i; where there are sources, of what is written. */
export function exampleLength(dataset: Dataset, i: number): number {
  return (dataset.offsets[i + 1] as number) - (dataset.offsets[i] as number);
}

/** Tokens of the source of example i; 0 where there are no sources. */
export function sourceLength({ sources }: Dataset, i: number): number {
  return sources === undefined ? 0 : (sources.offsets[i + 1] as number) - (sources.offsets[i] as number);
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
  const { labels, pictures, sources } = dataset;
  const read = sources?.offsets[kept] ?? 0;
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
    ...(sources && {
      sources: {
        ...sources,
        ids: sources.ids.subarray(0, read),
        offsets: sources.offsets.subarray(0, kept + 1),
      },
    }),
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
      tokens: tokens + read,
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
  const { labels, secondFrom, masking, sources } = dataset;
  const rest = [
    ...[labels?.of, secondFrom, masking && Int32Array.of(masking.maskId, masking.vocabSize)],
    ...(sources ? [sources.offsets, sources.ids] : []),
  ];
  for (const part of [lengths, dataset.ids, dataset.lossMask, ...rest]) {
    if (part === undefined) continue;
    hash.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  }
  if (sources) hash.update(String(sources.shiftedIn));
  for (const picture of dataset.pictures?.hashes ?? []) hash.update(picture);
  return hash.digest("hex");
}

/** Token ids that grow by doubling. */
class GrowingIds {
  #ids: Int32Array = new Int32Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(ids: Int32Array): void {
    const end = this.#length + ids.length;
    if (end > this.#ids.length) {
      const grown = hostArray(Int32Array, Math.max(end, 2 * this.#ids.length), "the data's tokens");
      grown.set(this.#ids);
      this.#ids = grown;
    }
    this.#ids.set(ids, this.#length);
    this.#length = end;
  }

  finish(): Int32Array {
    return this.#ids.slice(0, this.#length);
  }
}

/** Grows the arrays of a data set by doubling. */
export class DatasetBuilder {
  readonly #files: readonly string[];
  readonly #fileIndex: ReadonlyMap<string, number>;
  readonly #shiftedIn: ShiftedIn | undefined;
  readonly #ids = new GrowingIds();
  readonly #sources = new GrowingIds();
  #lossMask: Uint8Array = new Uint8Array(1024);
  readonly #offsets: number[] = [0];
  readonly #sourceOffsets: number[] = [0];
  readonly #fileOf: number[] = [];
  readonly #lineOf: number[] = [];
  readonly #pathOf: string[] = [];
  readonly #cutOf: number[] = [];
  #targets = 0;

  /** @param shiftedIn Of examples that have a source: what their decoder reads first */
  constructor(files: readonly string[], shiftedIn?: ShiftedIn) {
    this.#files = files;
    this.#fileIndex = new Map(files.map((file, i) => [file, i]));
    this.#shiftedIn = shiftedIn;
  }

  add(example: Example, place: RowPlace): void {
    const start = this.#ids.length;
    this.#ids.push(example.ids);
    const end = this.#ids.length;
    if (end > this.#lossMask.length) {
      const grown = hostArray(Uint8Array, Math.max(end, 2 * this.#lossMask.length), "the data's tokens");
      grown.set(this.#lossMask);
      this.#lossMask = grown;
    }
    this.#lossMask.set(example.lossMask, start);
    this.#offsets.push(end);
    if (example.source !== undefined) this.#sources.push(example.source);
    this.#sourceOffsets.push(this.#sources.length);
    this.#fileOf.push(this.#fileIndex.get(place.file) as number);
    this.#lineOf.push(place.line);
    this.#pathOf.push(place.path ?? "");
    this.#cutOf.push(example.cutTokens);
    for (const target of example.lossMask) this.#targets += target;
  }

  finish(seqLen: number, report: ReadReport & Pick<DataReport, "warnings">): Dataset {
    const tokens = this.#ids.length;
    return {
      ids: this.#ids.finish(),
      lossMask: this.#lossMask.slice(0, tokens),
      offsets: Float64Array.from(this.#offsets),
      files: this.#files,
      fileOf: Uint32Array.from(this.#fileOf),
      lineOf: Uint32Array.from(this.#lineOf),
      ...(this.#pathOf.some((path) => path !== "") && { pathOf: this.#pathOf }),
      cutOf: Uint32Array.from(this.#cutOf),
      seqLen,
      ...(this.#shiftedIn !== undefined && {
        sources: {
          ids: this.#sources.finish(),
          offsets: Float64Array.from(this.#sourceOffsets),
          shiftedIn: this.#shiftedIn,
        },
      }),
      report: {
        ...report,
        truncatedRows: this.#cutOf.filter((cut) => cut > 0).length,
        cutTokens: this.#cutOf.reduce((sum, cut) => sum + cut, 0),
        tokens: tokens + this.#sources.length,
        targets: this.#targets,
      },
    };
  }
}
