// SPDX-License-Identifier: Apache-2.0
/** Adapters of a model on disk: the short forms that take a model and know its identity. */
import type { AdapterParams } from "../adapters/adapter.ts";
import {
  loadAdapterFiles,
  type LoadAdapterOptions,
  openAdapterFiles,
  saveAdapterFiles,
} from "../adapters/files/adapter_files.ts";
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import { findBase } from "../adapters/files/base_model.ts";
import type { OpenCheckpointOptions } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { baseIdentity } from "./plan.ts";

/**
 * Writes an adapter's tensors and configuration into a folder; of several that were trained as one, those of the others beside
 * it. Its parameters must be up to date: see `flushState`.
 */
export function saveAdapter(model: Model, params: AdapterParams, folder: string): Promise<void> {
  return saveAdapterFiles(model, params, baseIdentity(model), folder);
}

/**
 * Reads an adapter for evaluation and generation: `attachAdapter(model, adapter)` says how the model is run with it.
 *
 * @param from Its folder, or the adapter that `openAdapter` opened
 * @throws {UserError} When the folder holds no adapter, a damaged one, or one for a model of other shapes
 */
export function loadAdapter(
  model: Model,
  from: string | SavedAdapter,
  options: LoadAdapterOptions = {},
): Promise<AdapterParams> {
  return loadAdapterFiles(model.kernels, model, baseIdentity(model), from, options);
}

/**
 * Opens a saved adapter to train it further: `plan(model, { start })`.
 *
 * @throws {UserError} When the folder holds no adapter, or a damaged one, or one that is not supported
 */
export function openAdapter(folder: string): Promise<SavedAdapter> {
  return openAdapterFiles(folder);
}

/** With what a model is opened for a saved adapter: its head and its vocabulary, where it brings them. */
export function openingOf(saved: SavedAdapter | null): OpenCheckpointOptions {
  return saved === null ? {} : { head: saved.head ?? undefined, vocabulary: saved.vocabulary };
}

/**
 * The folder of the model that a saved adapter was trained on, wherever both are by now; its hash decides.
 *
 * @param others Folders to look at last
 * @throws {UserError} When it is not found: what was looked at, and the way out
 */
export function baseOf({ base, folder }: SavedAdapter, others: readonly string[] = []): string {
  return findBase(base, folder, others);
}
