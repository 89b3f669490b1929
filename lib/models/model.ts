// SPDX-License-Identifier: Apache-2.0
/** A transformer: its configuration, and what it is made of. */
import type { ShiftedIn } from "../data/shift_right.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { TokenizerFiles } from "../data/tokenizer_files.ts";
import type { CheckpointIndex } from "../tensor/checkpoint_index.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { HeadConfig } from "./heads/head_config.ts";
import type { ModelParts } from "./parts.ts";
import type { RopeCaches } from "./rotary.ts";

/** A vocabulary with more tokens than the checkpoint's, or with other tables. */
export interface ModelVocabulary {
  /** Rows that the checkpoint's tables have. */
  readonly storedRows: number;
  /** Tables in the place of the checkpoint's, by the names of their tensors; of a tied head the embedding's alone. */
  readonly tables: ReadonlyMap<string, TensorEntry>;
  /** Tokens that were added: their rows are to be trained. */
  readonly added: readonly number[];
  /** What makes the tokenizer, and the class with which transformers opens it; null where none is known. */
  readonly tokenizer: { readonly files: TokenizerFiles; readonly className?: string } | null;
}

/** A loaded model. Use with `using`: disposing it closes its files. */
export interface Model extends Disposable {
  /** Folder it was loaded from. */
  readonly dir: string;
  readonly config: ModelConfig;
  /** What it is made of, with its weights. */
  readonly parts: ModelParts;
  readonly kernels: Kernels;
  /** Where each tensor lies. */
  readonly checkpoint: CheckpointIndex;
  /** Rotary tables, shared by all layers. */
  readonly rope: RopeCaches;
  /** Names of the head's tensors that the checkpoint lacks: they have no values until they are trained. */
  readonly fresh: ReadonlySet<string>;
  /** Of a vocabulary that is another than the checkpoint's; absent for most. */
  readonly vocabulary?: ModelVocabulary;
  /** What a user should know of the checkpoint, a sentence each: fields and tensors that are passed over. */
  readonly warnings: readonly string[];
  /** Whether the weights are only described, not there: such a model can be planned with, not run. */
  readonly weightless?: boolean;
}

/** With which tokens the decoder behind an encoder begins and ends. */
export interface DecoderIds {
  /**
   * What stands before the tokens that should come out, as a decoder reads them in training: a token, or `last` for the last of
   * them, which in mBART is the language.
   */
  readonly shiftedIn: ShiftedIn;
  /** The first that it reads when it generates; null where it must be chosen. */
  readonly startTokenId: number | null;
  /** What comes out first, and where the room ends, whatever the model says; null for nothing. */
  readonly forcedBosTokenId: number | null;
  readonly forcedEosTokenId: number | null;
}

/**
 * What `config.json` says, in camelCase, as far as it is asked of every family. What a family reads besides is in the record
 * of its own, for its `build` alone: everybody else reads sizes and quirks from the parts that come of it.
 */
export interface ModelConfig {
  readonly modelType: string;
  readonly head: HeadConfig;
  /** D, of the residual stream. */
  readonly hiddenSize: number;
  /** Of all stacks. */
  readonly numHiddenLayers: number;
  readonly vocabSize: number;
  /** Tokens that a sequence may have. */
  readonly maxPositionEmbeddings: number;
  /** Whether the head is the embedding: not when the checkpoint has another head, whatever `config.json` says. */
  readonly tieWordEmbeddings: boolean;
  readonly initializerRange: number;
  /** What sequences are filled up with where they are computed as a rectangle: never the last token of one. */
  readonly padTokenId: number | null;
  /** From `generation_config.json` where that names them, else from `config.json`. */
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  /** Absent where there is no encoder beside a decoder. */
  readonly decoderIds?: DecoderIds;
}
