// SPDX-License-Identifier: Apache-2.0
/** The base model of a run, known by every byte of its weights, so that others in their place are noticed. */
import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { UserError } from "../core/errors.ts";
import { cacheFolder } from "../files/cache.ts";
import { keptFileHash } from "../files/hash.ts";
import { stat, statIfThere } from "../files/read.ts";
import { type FileState, isSameFile, isSameState, stateOf } from "../files/state.ts";
import type { Model } from "../models/model.ts";

/** The base of a run under way. */
export interface BaseWatch {
  /** SHA-256 over `config.json` and the names and bytes of all weight files. */
  readonly content: string;
  /**
   * One sentence when the folder holds something else by now; null when it does not. Costs a look at each file, and its bytes
   * are only read again where that shows a change.
   */
  check(): Promise<string | null>;
}

/** A file of the model, as it was when last its bytes were known. */
interface WatchedFile {
  readonly path: string;
  state: FileState;
}

/** Reading more than that is worth a word: it takes many seconds. */
const LONG_BYTES = 4 * 2 ** 30;

/**
 * Knows a model by its content. Large files are hashed once and not again before they change.
 *
 * @param tell Called with what takes long     @returns Null for a model without weights
 * @throws {UserError} When a weight file is not the one any more that the model was opened from
 */
export async function watchBase(model: Model, tell: (notice: string) => void): Promise<BaseWatch | null> {
  if (model.weightless) return null;
  const files: WatchedFile[] = [await watched(join(model.dir, "config.json"))];
  for (const { path, state } of model.checkpoint.files) {
    const file = await watched(path);
    if (state !== null && !isSameFile(state, file.state)) {
      throw new UserError(
        `${path} was replaced or written to while the run was being started: start it again`,
      );
    }
    files.push(file);
  }
  const paths = files.map(({ path }) => path);
  const content = await contentHash(paths, tell);
  return {
    content,
    async check() {
      const changed: WatchedFile[] = [];
      for (const file of files) {
        const found = await statIfThere(file.path);
        if (found === null) return sentence(model, file.path, "is gone");
        const state = stateOf(found);
        if (!isSameState(state, file.state)) changed.push({ path: file.path, state });
      }
      const [first] = changed;
      if (first === undefined) return null;
      if (await contentHash(paths, tell) !== content) {
        return sentence(model, first.path, "is another one by now");
      }
      for (const file of files) {
        file.state = changed.find(({ path }) => path === file.path)?.state ?? file.state;
      }
      return null;
    },
  };
}

function sentence({ dir }: Model, path: string, what: string): string {
  return `${path} ${what}, and the run goes on with the weights that it has open: what it learns belongs to those, so put ` +
    `them back into ${dir} before it is resumed, and keep them for its adapter`;
}

async function watched(path: string): Promise<WatchedFile> {
  return { path, state: stateOf(await stat(path)) };
}

async function contentHash(paths: readonly string[], tell: (notice: string) => void): Promise<string> {
  const folder = await cacheFolder("weights");
  const hash = createHash("sha256");
  const onRead = (bytes: number): void => {
    if (bytes >= LONG_BYTES) tell("the weights are read whole once, to know them by their hash");
  };
  for (const path of paths) {
    hash.update(`${basename(path)} ${await keptFileHash(path, { folder, onRead })}\n`);
  }
  return hash.digest("hex");
}
