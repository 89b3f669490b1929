// SPDX-License-Identifier: Apache-2.0
/** Which weights of a model get a delta, of what rank and scale: PEFT's options matched against the model's modules. */
import { RegexError } from "../../core/python_regex/nodes.ts";
import type { ModelConfig } from "../../models/model.ts";
import { type ModelModule, modelModules, modelSites, siteModules } from "../../models/modules.ts";
import { basePrefix, namedParts } from "../../models/tensor_names.ts";
import { areFrozen } from "../frozen_layers.ts";
import type { OptionSource } from "../option_source.ts";
import { compileFinder, type SiteSize } from "./finder.ts";
import type { LoraSettings } from "./options.ts";

/** The deltas of a model: for each layer, those of its sites, in the order that they compute in; behind all, the head's. */
export type LoraTable = readonly ReadonlyMap<string, SiteSize>[];

/** Where a model's deltas are, and what is wrong with what was asked for: one sentence each. */
export interface LoraPlaces {
  readonly table: LoraTable;
  /** As given; a list of names that is the same sites in every layer is those sites' words. */
  readonly settings: LoraSettings;
  readonly problems: readonly string[];
}

/** What decides of places beside the settings. */
interface PlacingContext {
  readonly source: OptionSource;
  /** Names of modules that are trained whole. Default: none. */
  readonly whole?: readonly string[];
  /** Layers at the bottom of each stack that have no deltas. Default 0. */
  readonly frozenLayers?: number;
}

/** Finds the places of a model's deltas, as PEFT does. */
export function placeLora(
  settings: LoraSettings,
  config: ModelConfig,
  { source, whole = [], frozenLayers = 0 }: PlacingContext,
): LoraPlaces {
  const problems: string[] = [];
  const finder = compileFinder(settings, modelSites(config), { source, whole }, problems);
  if (problems.length > 0) return { table: [], settings, problems };
  const frozen = areFrozen(config, frozenLayers);
  const placed = (isBare: boolean): LoraPlaces => {
    const isFrozen = ({ layer }: ModelModule): boolean => layer !== null && frozen[layer] === true;
    const all = modelModules(config, isBare);
    const { sizes, problems, unused } = finder(
      all.filter((one) => !isFrozen(one)),
      all.filter(isFrozen),
    );
    const table = tableOf(sizes, config);
    return { table, settings, problems: [...(source.by === "user" ? unused() : []), ...problems] };
  };
  try {
    const isBare = source.by === "peft" && isOfBare(source.modules, config);
    const places = placed(isBare);
    if (places.problems.length > 0) return places;
    if (frozenLayers > 0) {
      return {
        ...places,
        settings: aboveFrozen(settings, places.table, config, { source, whole, frozenLayers }),
      };
    }
    const meansSame = !isBare || sameTable(placed(false).table, places.table);
    const written = meansSame ? settings : spelledOut(settings, places.table, config);
    return { ...places, settings: inWords(written, places.table, config) };
  } catch (error) {
    if (!(error instanceof RegexError)) throw error;
    return { table: [], settings, problems: [`a pattern of the adapter cannot be used: ${error.message}`] };
  }
}

/** Whether names of modules are those of the bare model within a causal language model, without its prefix. */
function isOfBare(modules: readonly string[], config: ModelConfig): boolean {
  const [whole, bare] = [false, true].map((isBare) =>
    new Set(modelModules(config, isBare).map(({ name }) => name))
  );
  return modules.some((name) => bare?.has(name)) && !modules.some((name) => whole?.has(name));
}

function tableOf(sizes: ReadonlyMap<ModelModule, SiteSize>, { numHiddenLayers }: ModelConfig): LoraTable {
  const places = Array.from({ length: numHiddenLayers + 1 }, () => new Map<string, SiteSize>());
  for (const [{ layer, site }, size] of sizes) {
    if (site !== null) places[layer ?? numHiddenLayers]?.set(site, size);
  }
  return places;
}

function sameTable(a: LoraTable, b: LoraTable): boolean {
  const listed = (table: LoraTable) => JSON.stringify(table.map((layer) => [...layer]));
  return listed(a) === listed(b);
}

/** Settings that mean the same places of a model where no layers are frozen, as PEFT's files know of none: by layers, or by names. */
function aboveFrozen(
  settings: LoraSettings,
  table: LoraTable,
  config: ModelConfig,
  { source, whole, frozenLayers }: Required<PlacingContext>,
): LoraSettings {
  const means = (other: LoraSettings): boolean => {
    const places = placeLora(other, config, { source, whole });
    return places.problems.length === 0 && sameTable(places.table, table);
  };
  if (means(settings)) return settings;
  const depth = Math.max(...namedParts(config).stacks.map(({ layers }) => layers.length));
  const above = Array.from({ length: depth - frozenLayers }, (_, i) => frozenLayers + i);
  const byLayers = { ...settings, layersToTransform: above };
  if (settings.layersToTransform === null && typeof settings.targets !== "string" && means(byLayers)) {
    return byLayers;
  }
  return spelledOut(settings, table, config);
}

/** The same places by their whole names: for settings that were made for a model whose modules have other names. */
function spelledOut(settings: LoraSettings, table: LoraTable, config: ModelConfig): LoraSettings {
  const [modules, prefix] = [siteModules(config), basePrefix(config)];
  const sites = table.flatMap((layer, index) =>
    [...layer].map(([site, size]) => ({ ...size, name: modules[index]?.get(site) as string }))
  );
  const differing = (option: "rank" | "alpha") =>
    Object.fromEntries(
      sites.filter((site) => site[option] !== settings[option])
        .map((site) => [site.name.slice(prefix.length).replaceAll(".", "\\."), site[option]]),
    );
  return {
    ...settings,
    targets: sites.map(({ name }) => name).sort(),
    excludeTargets: null,
    layersToTransform: null,
    layersPattern: null,
    rankPattern: differing("rank"),
    alphaPattern: differing("alpha"),
  };
}

/** A list that chooses the same sites in every layer, by those sites' words; those of the head by their names. */
function inWords(settings: LoraSettings, table: LoraTable, config: ModelConfig): LoraSettings {
  const { targets, excludeTargets, layersToTransform } = settings;
  if (typeof targets === "string" || excludeTargets !== null || layersToTransform !== null) return settings;
  const [first, ...others] = table.slice(0, -1).map((layer) => [...layer.keys()]);
  const alike = others.every((sites) => sites.join() === first?.join());
  if (!alike || !first) return settings;
  const modules = siteModules(config).at(-1);
  const ofHead = [...table.at(-1)?.keys() ?? []].map((site) => modules?.get(site) as string);
  return { ...settings, targets: [...first, ...ofHead] };
}
