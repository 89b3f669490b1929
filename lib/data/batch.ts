// SPDX-License-Identifier: Apache-2.0
/** What a model is given: the tokens of a micro-batch, without padding, as spans that never see each other. */

/** One micro-batch. M is the number of its tokens, S the number of its sequences. */
export interface Batch {
  /** (M) int32 token ids. */
  readonly ids: Int32Array;
  /** (M) int32: place of each token in its own sequence, from 0. */
  readonly positions: Int32Array;
  /** (S+1) int32: sequence s is tokens [starts[s], starts[s+1]). */
  readonly starts: Int32Array;
  /** (M) int32: the token that should follow, or -1 where no loss is taken. */
  readonly targets: Int32Array;
  /** Targets that are not -1. */
  readonly targetCount: number;
}
