// SPDX-License-Identifier: Apache-2.0
/** The modules of a model as transformers names them: what PEFT's options choose from. */
import { buildParts, FAMILIES, familyOf, smallestOf } from "./families/registry.ts";
import type { ModelConfig } from "./model.ts";
import { allTensors, expertTensors, headLinears, linearsOf, placesOf, tensorsOf } from "./part_tensors.ts";
import { type Layer, layersOf, type Linear } from "./parts.ts";
import { basePrefix, headNames, moduleOf } from "./tensor_names.ts";

/** One module. */
export interface ModelModule {
  /** `model.layers.0.self_attn.q_proj`; `layers.0.self_attn.q_proj` in the bare model. */
  readonly name: string;
  /** Null outside of the layers: what has a site there is the head's. */
  readonly layer: number | null;
  /** Null where an adapter on linear weights has no place. */
  readonly site: string | null;
}

/** Where adapters on linear weights may attach, by site: what is written for a site everywhere in a model. */
export interface Sites {
  /**
   * The shortest end of the name of each site's modules that no other site's have, in the order they compute in: `q` and
   * `q_proj`, `o` and `attn.c_proj` where the feed-forward has a `c_proj` too. Where every end is another's, the longest.
   */
  readonly words: ReadonlyMap<string, string>;
  /** What PEFT targets when it is told nothing: queries and values, or the product that makes both. */
  readonly peftDefault: readonly string[];
  /** Names of the head's modules that such adapters may attach to, where they are named: no word means one. */
  readonly ofHead: readonly string[];
  /** Whether weights are kept as (I,O). */
  readonly transposed: boolean;
  /** The first of all modules, for messages: `model.layers.0.self_attn.q_proj`, and as the bare model has it. */
  readonly example: { readonly whole: string; readonly bare: string };
}

/** The sites of a model. */
export function modelSites(config: ModelConfig): Sites {
  const parts = buildParts(config, (name) => name);
  const layers = layersOf(parts);
  const ofHead = headLinears(parts.head).map(({ weight }) => moduleOf(weight));
  const attention = layers.flat().filter((part) => "heads" in part);
  const [whole = ""] = layers.flat().flatMap((part) => linearsOf(part)).map(({ weight }) => moduleOf(weight));
  const prefix = basePrefix(config);
  return {
    words: wordsOf(layers, ofHead),
    ofHead,
    peftDefault: [
      ...new Set(attention.flatMap(({ inputs }) => queriesAndValues(inputs)).map(({ site }) => site)),
    ],
    transposed: layers.flat().flatMap((part) => linearsOf(part)).some(({ transposed }) =>
      transposed === true
    ),
    example: { whole, bare: whole.startsWith(prefix) ? whole.slice(prefix.length) : whole },
  };
}

function queriesAndValues<W>(inputs: readonly Linear<W>[]): readonly Linear<W>[] {
  return inputs.length === 3 ? inputs.filter((_, i) => i !== 1) : inputs;
}

/** Sites of all families, each with all that their modules are called: what help can tell without a model. */
export function knownWords(): ReadonlyMap<string, ReadonlySet<string>> {
  const known = new Map<string, Set<string>>();
  for (const family of FAMILIES.values()) {
    for (const [site, word] of wordsOf(layersOf(smallestOf(family)), [])) {
      known.set(site, (known.get(site) ?? new Set()).add(word));
    }
  }
  return known;
}

/** @param ofHead Modules that no word means either */
function wordsOf(layers: readonly Layer<string>[], ofHead: readonly string[]): ReadonlyMap<string, string> {
  const modules = new Map(
    layers.flat().flatMap((part) => linearsOf(part)).map(({ site, weight }) => [site, moduleOf(weight)]),
  );
  return new Map([...modules].map(([site, module]) => {
    const others = [...modules.values(), ...ofHead].filter((other) => other !== module);
    const ends = endsWithinLayer(module);
    const own = ends.find((end) => !others.some((other) => other.endsWith(`.${end}`)));
    return [site, own ?? ends.at(-1) as string];
  }));
}

/** The whole name of each site's module, by layer; behind all layers, those of the head. */
export function siteModules(config: ModelConfig): readonly ReadonlyMap<string, string>[] {
  return placesOf(buildParts(config, (name) => name)).map((linears) =>
    new Map(linears.map(({ site, weight }) => [site, moduleOf(weight)]))
  );
}

/** Ends of a module's name behind the number of its layer, the shortest first. */
function endsWithinLayer(module: string): string[] {
  const words = module.split(".");
  const first = words.findLastIndex((word) => /^\d+$/.test(word)) + 1;
  return words.slice(first).map((_, i) => words.slice(words.length - 1 - i).join("."));
}

/**
 * All modules, the model itself left out.
 *
 * @param isBare Names them as the bare model does, which has no head but what lies in it: a pooler
 */
export function modelModules(config: ModelConfig, isBare = false): ModelModule[] {
  const parts = buildParts(config, (name) => name);
  const bare = familyOf(config).bareModules(config);
  const paths = layersOf(parts).map((layer) => commonPath(tensorNames(layer).map(moduleOf)));
  const layers = layersOf(parts).flatMap((layer, number): ModelModule[] => {
    const within = `${paths[number]}.`;
    const sites = new Map(
      layer.flatMap((part) => linearsOf(part)).map(({ site, weight }) => [moduleOf(weight), site]),
    );
    const names = [...tensorNames(layer).map(moduleOf), ...bare.filter((name) => name.startsWith(within))];
    const all = withAncestors(names).filter((name) => `${name}.`.startsWith(within));
    const other = all.filter((name) => !sites.has(name)).map((name) => ({ name, layer: number, site: null }));
    return [...other, ...[...sites].map(([name, site]) => ({ name, layer: number, site }))];
  });
  const ofLayers = new Set(layers.map(({ name }) => name));
  const head = [...new Set(headNames(config).map(moduleOf))];
  const ofExperts = new Set(layersOf(parts).flat().flatMap((part) => expertTensors(part)));
  const named = allTensors(parts).filter((name) => !ofExperts.has(name));
  const outside = withAncestors([...named.map(moduleOf), ...bare])
    .filter((name) => !ofLayers.has(name) && !head.includes(name))
    .map((name): ModelModule => ({ name, layer: null, site: null }));
  const sites = new Map(headLinears(parts.head).map(({ site, weight }) => [moduleOf(weight), site]));
  const ofHead = [...head.filter((name) => !sites.has(name)), ...sites.keys()];
  const all = [
    ...outside,
    ...layers,
    ...ofHead.map((name) => ({ name, layer: null, site: sites.get(name) ?? null })),
  ];
  if (!isBare) return all;
  const prefix = basePrefix(config);
  return all.filter(({ name }) => name.startsWith(prefix))
    .map((module) => ({ ...module, name: module.name.slice(prefix.length) }));
}

/** Of those that modules of their own have: experts lie in one tensor to transformers. */
function tensorNames(layer: Layer<string>): string[] {
  return layer.flatMap((part) => {
    const ofExperts = new Set(expertTensors(part));
    return tensorsOf(part).filter((name) => !ofExperts.has(name));
  });
}

/** Modules and all that they lie in, each once, the outer before the inner. */
function withAncestors(modules: readonly string[]): string[] {
  return [
    ...new Set(modules.flatMap((module) => {
      const words = module.split(".");
      return words.map((_, i) => words.slice(0, i + 1).join("."));
    })),
  ];
}

/** The innermost module that all of these lie in. */
function commonPath(modules: readonly string[]): string {
  const [first = [], ...others] = modules.map((module) => module.split("."));
  const differs = first.findIndex((word, i) => others.some((words) => words[i] !== word));
  return first.slice(0, differs < 0 ? first.length - 1 : differs).join(".");
}
