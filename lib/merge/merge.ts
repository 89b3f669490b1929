// SPDX-License-Identifier: Apache-2.0
/**
 * Merging: a base model and an adapter become one Hugging Face checkpoint, which is loaded again and compared before it
 * takes its name.
 */
import { basename, dirname } from "node:path";
import type { LoadAdapterOptions } from "../adapters/files/adapter_files.ts";
import { UserError } from "../core/errors.ts";
import { explained } from "../evaluate/not_finite.ts";
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import { readTokenizerFiles, writeTokenizerFiles } from "../data/tokenizer_files.ts";
import { headFields } from "../models/heads/head_fields.ts";
import { openCheckpoint } from "../models/load.ts";
import { nativeKernels } from "../ops/native/native_kernels.ts";
import { asFileError, saysNotFound } from "../files/errors.ts";
import { claimFolder, lockFolder, makeFolder, moveInto, removeQuietly } from "../files/folders.ts";
import { describeLeftOvers, removeLeftOvers } from "../files/leftovers.ts";
import { isThere, listFolderIfThere } from "../files/read.ts";
import { unfinishedPath } from "../files/write.ts";
import { baseOf, loadAdapter, openAdapter, openingOf } from "../train/adapters.ts";
import { compareMerged, type MergeComparison, type RunSource } from "./merge_check.ts";
import { type MergedDType, writeMergedCheckpoint, type WrittenCheckpoint } from "./merged_checkpoint.ts";

/** What is merged, and into what. */
export interface MergeOptions extends LoadAdapterOptions {
  /** Folder of the base model. Default: the one that the adapter was trained on, wherever both are by now. */
  readonly model?: string;
  /** Folder of the adapter. */
  readonly adapter: string;
  /** Folder to write; it must not exist, or be empty. */
  readonly out: string;
  /** Type of the merged weights; null keeps each tensor's own. Default null. */
  readonly dtype?: MergedDType | null;
  /** CPU threads of the comparison. Default: all cores. */
  readonly threads?: number;
  /** Called with left-overs of killed merges into the same folder, one sentence each. Default: none. */
  readonly onWarning?: (warning: string) => void;
}

/** What merging wrote, and how it compares. */
export interface MergeReport extends WrittenCheckpoint {
  readonly out: string;
  readonly comparison: MergeComparison;
  /** What the base's user should know; see `Model.warnings`. */
  readonly warnings: readonly string[];
}

/**
 * Merges. The folder appears under its name only when it is whole and its logits agree with those of base and adapter;
 * whatever goes wrong, nothing is left behind.
 *
 * @throws {UserError} When the folder is taken, or the adapter cannot be merged exactly, with the reason
 * @throws {NotFiniteError} When a weight or a logit is not finite, naming the tensor that is to blame
 * @throws {Error} When the logits of the merged model differ by more than rounding explains: names both numbers
 */
export async function mergeAdapter(options: MergeOptions): Promise<MergeReport> {
  const { adapter, out } = options;
  await assertFree(out);
  const saved = await openAdapter(adapter);
  const model = options.model ?? baseOf(saved);
  await makeFolder(dirname(out));
  const name = basename(out);
  const leftOvers = await removeLeftOvers(dirname(out), (whole) => whole === name, { claim: claimFolder });
  for (const told of describeLeftOvers(leftOvers, "a killed merge")) options.onWarning?.(told);
  using place = await openUnfinished(out);
  const unfinished = place.path;
  try {
    const written = await writeMerged({ ...options, model, saved }, unfinished);
    const source: RunSource = { model, adapter };
    const comparison = await compareMerged(source, unfinished, options.threads);
    if (!comparison.agrees) {
      const { largestDifference, bound, rmsDifference, rmsBound, rule } = comparison;
      throw new Error(
        `The merged model's logits differ from those of base and adapter by up to ${largestDifference} (allowed ${bound}), ` +
          `${rmsDifference} as a root mean square (allowed ${rmsBound}: ${rule}): ${out} was not written`,
      );
    }
    await moveInto(unfinished, out);
    return { ...written, out, comparison };
  } finally {
    await removeQuietly(unfinished);
  }
}

/** A new folder that is to become `out`, locked so that no other merge takes it for a left-over. */
async function openUnfinished(out: string): Promise<{ readonly path: string } & Disposable> {
  for (;;) {
    const path = unfinishedPath(out);
    await makeFolder(path).catch((error: Error) => {
      throw asFileError(error.cause ?? error, "make", out); // nobody knows the other name
    });
    const lock = await lockFolder(path).catch(nullIfGone);
    if (lock === null) continue; // taken for a left-over before it was locked
    if (await isThere(path)) return { path, [Symbol.dispose]: () => lock.close() };
    lock.close();
  }
}

function nullIfGone(error: unknown): null {
  if (saysNotFound(error)) return null;
  throw error;
}

async function assertFree(out: string): Promise<void> {
  if ((await listFolderIfThere(out)).length > 0) {
    throw new UserError(`${out} is not empty: choose another folder`);
  }
}

async function writeMerged(
  options: MergeOptions & Pick<RunSource, "model"> & { readonly saved: SavedAdapter },
  folder: string,
): Promise<WrittenCheckpoint & Pick<MergeReport, "warnings">> {
  // Values are only read: what products are computed in does not matter.
  using kernels = nativeKernels({ threads: options.threads });
  using model = openCheckpoint(options.model, kernels, openingOf(options.saved));
  const params = await loadAdapter(model, options.saved, options);
  if (params.merge === undefined) {
    throw new UserError(
      `Adapter ${options.adapter} (${params.adapter.kind}) cannot be merged into a checkpoint: ` +
        `${
          params.adapter.mergeRefusal ?? "it is no change of weights"
        }; run the model with it beside (--adapter)`,
    );
  }
  const merged = {
    changes: [...params.merge(kernels)],
    config: {
      ...headFields(model.config),
      ...(model.vocabulary && { vocab_size: model.config.vocabSize }),
      ...params.mergedConfig,
    },
    dtype: options.dtype ?? null,
  };
  const written = await explained(model, params, () => writeMergedCheckpoint(model, merged, folder));
  const { tokenizer } = options.saved;
  if (tokenizer !== null) await writeTokenizerFiles(folder, await readTokenizerFiles(tokenizer, model.dir));
  return { ...written, warnings: model.warnings };
}
