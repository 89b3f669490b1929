// SPDX-License-Identifier: Apache-2.0
/** Whether a prompt leaves a model room for an answer. */
import { RowError } from "../data/row_error.ts";

/**
 * The prompt as it was given, when at least one token of an answer has room.
 *
 * @param room Tokens that the model has room for, prompt and answer together: its `maxPositionEmbeddings`
 * @param apart Whether the answer has as much room of its own
 * @throws {RowError} When there is no room, or nothing to start from
 */
export function checkRoom<Ids extends readonly number[]>(ids: Ids, room: number, apart = false): Ids {
  if (ids.length === 0) throw new RowError("empty", "the prompt has no tokens to start an answer from");
  if (ids.length < room + Number(apart)) return ids;
  throw new RowError(
    "over-long",
    `the prompt has ${ids.length} tokens, and the model has room for ${room}${
      apart ? "" : ", answer included"
    }`,
  );
}
