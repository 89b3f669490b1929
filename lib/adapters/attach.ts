// SPDX-License-Identifier: Apache-2.0
/** A model with what is trained in place. */
import type { Hooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import { withWeights } from "../models/trainable.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Weight } from "../tensor/tensor.ts";
import type { AdapterParams, AttachOptions } from "./adapter.ts";

/** What was attached: everything that runs a model takes these two. */
export interface Attachment {
  /** The model itself, or one with other weights in the place of some. */
  readonly model: Model;
  readonly hooks: Hooks;
}

// A model with other weights is built once, and not for each micro-batch.
const replaced = new WeakMap<ReadonlyMap<string, Weight>, Model>();

/**
 * How a model is to be run with an adapter; without one, as it is.
 *
 * @param model That the parameters were created for
 */
export function attachAdapter(
  model: Model,
  params: AdapterParams | null | undefined,
  k: Kernels = model.kernels,
  options: AttachOptions = {},
): Attachment {
  if (!params) return { model, hooks: {} };
  const { hooks, replace } = params.attach(k, options);
  if (replace === undefined) return { model, hooks };
  const known = replaced.get(replace) ?? withWeights(model, replace);
  replaced.set(replace, known);
  return { model: known, hooks };
}
