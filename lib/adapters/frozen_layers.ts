// SPDX-License-Identifier: Apache-2.0
/** Layers at the bottom of each stack that stay as they are: what is trained is in those above. */
import type { JsonObject } from "../core/json.ts";
import { integer } from "../core/options.ts";
import { optionProblems } from "../core/option_checks.ts";
import type { ModelConfig } from "../models/model.ts";
import { buildParts } from "../models/families/registry.ts";
import { tensorsOf } from "../models/part_tensors.ts";
import { type Branch, layersOf } from "../models/parts.ts";
import { namedParts, sublayerModules } from "../models/tensor_names.ts";

/** Layers at the bottom of each stack that stay frozen and without adapters, and under a wiring plain. Default 0. */
export const FROZEN_LAYERS = integer({
  min: 0,
  default: 0,
  help: "layers at the bottom that stay as they are, without adapters and, under a wiring, plain",
});

/** The number as adapters are told of it: 0 where what was chosen is wrong, which {@linkcode frozenProblems} says. */
export function frozenLayersOf(chosen: unknown, model: ModelConfig): number {
  return chosen !== undefined && frozenProblems(chosen, model).length === 0 ? chosen as number : 0;
}

/** What is wrong with it: one sentence each. It may come from a file. */
export function frozenProblems(chosen: unknown, model: ModelConfig): string[] {
  const problems = optionProblems({ frozenLayers: FROZEN_LAYERS }, { frozenLayers: chosen });
  const layers = fewestLayers(model);
  if (problems.length > 0 || chosen === undefined || chosen as number < layers) return problems;
  return [`frozenLayers is ${chosen}, but the model has ${layers} layers: leave one to be trained`];
}

/** What adapters record of it. */
export function recordedFrozen(frozenLayers: number): JsonObject {
  return frozenLayers === 0 ? {} : { frozenLayers };
}

/** By layer of all stacks: whether it is one of the lowest of its own. */
export function areFrozen(model: ModelConfig, frozenLayers: number): readonly boolean[] {
  return namedParts(model).stacks.flatMap(({ layers }) => layers.map((_, number) => number < frozenLayers));
}

/** Names of the tensors of frozen layers. */
export function frozenTensors(model: ModelConfig, frozenLayers: number): ReadonlySet<string> {
  if (frozenLayers === 0) return new Set();
  const frozen = areFrozen(model, frozenLayers);
  const layers = layersOf(buildParts(model, (name) => name)).filter((_, layer) => frozen[layer]);
  return new Set(layers.flat().flatMap((part) => tensorsOf(part)));
}

/**
 * Module of the sublayer at a place, by layer of all stacks; null in frozen layers.
 *
 * @throws {RangeError} When a layer has no such sublayer
 */
export function trainedModules(model: ModelConfig, branch: Branch, frozenLayers: number): (string | null)[] {
  const frozen = areFrozen(model, frozenLayers);
  return sublayerModules(model, branch).map((module, layer) => frozen[layer] ? null : module);
}

/** Layers of the shallowest stack. */
function fewestLayers(model: ModelConfig): number {
  return Math.min(...namedParts(model).stacks.map(({ layers }) => layers.length));
}

/** What an adapter has in each layer; null in those that are left out. */
export type ByLayer<T> = readonly (T | null)[];

/** Whether it has something in a layer. */
export function isIn<T>(layers: ByLayer<T>, layer: number): boolean {
  return (layers[layer] ?? null) !== null;
}

/** What it has there. @throws {RangeError} When that is nothing */
export function layerAt<T>(layers: ByLayer<T>, layer: number): T {
  const found = layers[layer];
  if (found == null) {
    throw new RangeError(`The adapter has ${layers.length} layers, and nothing in layer ${layer}`);
  }
  return found;
}

/** Those of the layers where it has something. */
export function present<T>(layers: ByLayer<T>): T[] {
  return layers.filter((one) => one !== null);
}
