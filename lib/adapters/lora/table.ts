// SPDX-License-Identifier: Apache-2.0
/** Which weights of a model get a delta, of what rank and scale: PEFT's options matched against the model's modules. */
import { RegexError } from "../../core/python_regex/nodes.ts";
import type { ModelConfig } from "../../models/model.ts";
import { type ModelModule, modelModules, modelSites, siteModules } from "../../models/modules.ts";
import { basePrefix } from "../../models/tensor_names.ts";
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

/** Finds the places of a model's deltas, as PEFT does. @param whole Names of modules that are trained whole */
export function placeLora(
  settings: LoraSettings,
  config: ModelConfig,
  source: OptionSource,
  whole: readonly string[] = [],
): LoraPlaces {
  const problems: string[] = [];
  const finder = compileFinder(settings, modelSites(config), { source, whole }, problems);
  if (problems.length > 0) return { table: [], settings, problems };
  const placed = (isBare: boolean): LoraPlaces => {
    const { sizes, problems, unused } = finder(modelModules(config, isBare));
    const table = tableOf(sizes, config);
    return { table, settings, problems: [...(source.by === "user" ? unused() : []), ...problems] };
  };
  try {
    const isBare = source.by === "peft" && isOfBare(source.modules, config);
    const places = placed(isBare);
    if (places.problems.length > 0) return places;
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
