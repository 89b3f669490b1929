// SPDX-License-Identifier: Apache-2.0
/** Adapters of a model on disk: the short forms that take a model and know its identity. */
import type { AdapterParams } from "../adapters/adapter.ts";
import {
  loadAdapterFiles,
  type LoadAdapterOptions,
  openAdapterFiles,
  saveAdapterFiles,
  type SavedAdapter,
} from "../adapters/adapter_files.ts";
import type { Model } from "../models/model.ts";
import { baseIdentity } from "./plan.ts";

/** Writes an adapter's tensors and configuration into a folder. Its parameters must be up to date: see `flushState`. */
export function saveAdapter(model: Model, params: AdapterParams, folder: string): Promise<void> {
  return saveAdapterFiles(model.kernels, params, baseIdentity(model), folder);
}

/**
 * Reads an adapter for evaluation and generation: run the model as `adapter.attach(model.kernels)` says.
 *
 * @throws {UserError} When the folder holds no adapter, a damaged one, or one for a model of other shapes
 */
export function loadAdapter(
  model: Model,
  folder: string,
  options: LoadAdapterOptions = {},
): Promise<AdapterParams> {
  return loadAdapterFiles(model.kernels, model, baseIdentity(model), folder, options);
}

/**
 * Opens a saved adapter to train it further: `plan(model, { start })`.
 *
 * @throws {UserError} When the folder holds no adapter, or a damaged one, or one that is not supported
 */
export function openAdapter(folder: string): Promise<SavedAdapter> {
  return openAdapterFiles(folder);
}
