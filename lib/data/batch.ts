// SPDX-License-Identifier: Apache-2.0
/** What a model is given: the tokens of a micro-batch, without padding, as spans that never see each other. */

/** A token that should come out at each token. */
export interface TokenTargets {
  readonly kind: "tokens";
  /** (M) int32 token ids, or -1 where no loss is taken. */
  readonly ids: Int32Array;
}

/** A class of each sequence. */
export interface ClassTargets {
  readonly kind: "classes";
  /** (S) int32, from 0. */
  readonly labels: Int32Array;
}

/** A value of each sequence. */
export interface ValueTargets {
  readonly kind: "values";
  /** (S). */
  readonly values: Float64Array;
}

/** What a batch is compared with: it suits one kind of head. */
export type Targets = TokenTargets | ClassTargets | ValueTargets;

/** Pictures in the place of tokens, one a sequence: each is decoded when a pass asks for it. */
export interface BatchPictures {
  /**
   * Writes what a model takes of the picture of a sequence.
   *
   * @param rows (patches, C*P*P) f32, written
   */
  read(sequence: number, rows: Float32Array): void;
}

/**
 * What the encoder of an encoder-decoder reads: N tokens of the S sequences of its batch, whose own tokens are then
 * the decoder's: shifted right by the model's start token, with those that should come out as targets.
 */
export interface BatchSource {
  /** (N) int32 token ids. */
  readonly ids: Int32Array;
  /** (N) int32: place of each token in its own source, from 0. */
  readonly positions: Int32Array;
  /** (S+1) int32: the source of sequence s is tokens [starts[s], starts[s+1]) of these. */
  readonly starts: Int32Array;
}

/** One micro-batch. M is the number of its tokens, S the number of its sequences. */
export interface Batch {
  /** (M) int32 token ids; all 0 where there are pictures. */
  readonly ids: Int32Array;
  /** Absent where tokens are those of texts. */
  readonly pictures?: BatchPictures;
  /** (M) int32: 1 for tokens of the second of two texts; all are of the first where it is absent. */
  readonly types?: Int32Array;
  /** (M) int32: place of each token in its own sequence, from 0. */
  readonly positions: Int32Array;
  /** (S+1) int32: sequence s is tokens [starts[s], starts[s+1]). */
  readonly starts: Int32Array;
  /** Absent where a model has no encoder beside its decoder. */
  readonly source?: BatchSource;
  readonly targets: Targets;
  /** Those that a loss is taken of. */
  readonly targetCount: number;
}

/** Tokens of a batch, of what is read and what is written. */
export function batchTokens({ ids, source }: Pick<Batch, "ids" | "source">): number {
  return ids.length + (source?.ids.length ?? 0);
}

/** Targets by tokens. @param ids (M) int32, -1 where no loss is taken */
export function tokenTargets(ids: Int32Array): TokenTargets {
  return { kind: "tokens", ids };
}

/**
 * (M) int32: the tokens that should come out.
 *
 * @throws {RangeError} When the targets are of whole sequences
 */
export function targetIds({ targets }: Pick<Batch, "targets">): Int32Array {
  if (targets.kind === "tokens") return targets.ids;
  throw new RangeError(`The targets are ${targets.kind} of whole sequences, not tokens`);
}

/** How many rows of what a head sees are compared: tokens that have a target, or sequences. */
export function countTargets(targets: Targets): number {
  if (targets.kind === "tokens") return targets.ids.reduce((count, id) => id >= 0 ? count + 1 : count, 0);
  return targets.kind === "classes" ? targets.labels.length : targets.values.length;
}
