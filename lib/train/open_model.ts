// SPDX-License-Identifier: Apache-2.0
/** The short way in: a checkpoint folder with its tokenizer, on kernels of its own, and data read for it. */
import { withDefaults } from "../core/option_checks.ts";
import { choice, integer, type OptionsOf } from "../core/options.ts";
import type { Dataset } from "../data/dataset.ts";
import { formatPreview, previewExamples } from "../data/preview.ts";
import { checkVocabulary, type Tokenizer } from "../data/tokenizer.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import { openCheckpoint } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { hasCudaDevice, requireCuda } from "../native/cuda.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { cudaKernels } from "../ops/native/cuda_kernels.ts";
import { type NativeKernels, nativeKernels } from "../ops/native/native_kernels.ts";
import {
  type OpenVocabulary,
  openVocabulary,
  vocabularyOf,
  type VocabularyOptions,
} from "./open_vocabulary.ts";

/** Where a model runs, and in what. */
export const MACHINE_OPTIONS = {
  /** "auto" is the CUDA device where there is one that can be used, else the CPU. Default "auto". */
  device: choice(["auto", "cpu", "cuda"], {
    default: "auto",
    mayChange: "asked",
    help: "where the model runs",
  }),
  /** Of matrix products; "auto" is bf16 where the machine multiplies it, else f32. Default "auto". */
  dtype: choice(["auto", "f32", "bf16"], {
    default: "auto",
    identity: "compute",
    help: "of matrix products and of what lies between them; auto is bf16 where the machine multiplies it",
  }),
  /** CPU threads. Default: all cores. */
  threads: integer({ min: 1, mayChange: "asked", defaultText: "all cores", help: "CPU threads" }),
} as const;

/** Where a model runs, and with what vocabulary. */
export interface OpenModelOptions extends OptionsOf<typeof MACHINE_OPTIONS>, VocabularyOptions {
  /** Kernels to use instead of new ones; they stay the caller's. `device`, `dtype` and `threads` then say nothing. */
  readonly kernels?: Kernels;
  /** The head that is wanted, in the place of the checkpoint's own: see `tasks`. Default: its own. */
  readonly head?: HeadConfig | undefined;
}

/** A model with its tokenizer. Use with `using`: disposing it gives back its files and its kernels. */
export interface OpenModel extends Model {
  /** @throws {MissingTokenizerError} When the folder has none: such a model takes token ids alone */
  readonly tokenizer: Tokenizer;
}

/**
 * Opens a Hugging Face folder: `config.json`, `*.safetensors`, `tokenizer.json`. A folder without a tokenizer opens too, for
 * those who have token ids.
 *
 * @throws {ValidationError} Listing everything that is wrong with the checkpoint
 * @throws {UserError} When the tokenizer is damaged or does not fit, or the device is not there
 */
export async function loadModel(dir: string, options: OpenModelOptions = {}): Promise<OpenModel> {
  using opening = new DisposableStack();
  const kernels = options.kernels ?? opening.use(openKernels(options));
  const vocabulary = await openVocabulary(dir, options);
  const { head } = options;
  const opened = opening.use(openCheckpoint(dir, kernels, { head, vocabulary: vocabulary.choice }));
  const owned = opening.move();
  const grown = vocabularyOf(opened, vocabulary);
  const model = {
    ...opened,
    ...(grown && { vocabulary: grown }),
    [Symbol.dispose]: () => owned.dispose(),
  };
  try {
    return withTokenizer(model, vocabulary, opened.config.vocabSize);
  } catch (error) {
    owned.dispose();
    throw error;
  }
}

/**
 * A model with its tokenizer, which is missed only where it is asked for.
 *
 * @param rows Of the model's tables: there must be one for each token
 * @throws {UserError} When the tokenizer does not fit
 */
export function withTokenizer<M extends object>(
  model: M,
  { tokenizer }: Pick<OpenVocabulary, "tokenizer">,
  rows?: number,
): M & Pick<OpenModel, "tokenizer"> {
  if (rows !== undefined && !(tokenizer instanceof Error)) checkVocabulary(tokenizer, rows);
  return {
    ...model,
    get tokenizer() {
      if (tokenizer instanceof Error) throw tokenizer;
      return tokenizer;
    },
  };
}

/**
 * Kernels of a device.
 *
 * @throws {UserError} When the CUDA device that was asked for cannot be used, saying what is missing
 */
export function openKernels(options: OpenModelOptions): NativeKernels {
  const { device, dtype, threads } = withDefaults(MACHINE_OPTIONS, options);
  const cpu = threads === undefined ? {} : { threads };
  if (device === "cuda") requireCuda();
  else if (device === "cpu" || !hasCudaDevice()) return nativeKernels({ compute: dtype, ...cpu });
  return cudaKernels({ compute: dtype, host: cpu });
}

/** The first examples of a data set as text: tokens, and which of them are targets. In brackets, or in colour. */
export function preview(
  dataset: Dataset,
  model: OpenModel,
  count = 3,
  options: { readonly color?: boolean } = {},
): string {
  return formatPreview(previewExamples(dataset, model, count), { color: options.color ?? false });
}
