// SPDX-License-Identifier: Apache-2.0
/** Which weights of a model get a delta, of what rank and scale: PEFT's options matched against the model's modules. */
import { quotedValue } from "../../core/quoted.ts";
import { compileRegex, type Regex } from "../../core/python_regex/regex.ts";
import { RegexError } from "../../core/python_regex/nodes.ts";
import { didYouMean } from "../../core/suggestion.ts";
import type { ModelConfig } from "../../models/model.ts";
import { type ModelModule, modelModules, modelSites, siteModules, type Sites } from "../../models/modules.ts";
import { basePrefix } from "../../models/tensor_names.ts";
import type { OptionSource } from "../option_source.ts";
import { loraScale, peftName } from "./config.ts";
import { type LORA_OPTIONS, type LoraSettings, optionLabel } from "./options.ts";

/** One weight's delta. */
export interface SiteSize {
  /** R. */
  readonly rank: number;
  readonly alpha: number;
  /** What B A is multiplied by. */
  readonly scale: number;
}

/** The deltas of a model: for each layer, those of its sites, in the order that they compute in. */
export type LoraTable = readonly ReadonlyMap<string, SiteSize>[];

/** Where a model's deltas are, and what is wrong with what was asked for: one sentence each. */
export interface LoraPlaces {
  readonly table: LoraTable;
  /** As given; a list of names that is the same sites in every layer is those sites' words. */
  readonly settings: LoraSettings;
  readonly problems: readonly string[];
}

/** Finds the places of a model's deltas, as PEFT does. */
export function placeLora(settings: LoraSettings, config: ModelConfig, source: OptionSource): LoraPlaces {
  const problems: string[] = [];
  const finder = compileFinder(settings, modelSites(config), source, problems);
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
    return { ...places, settings: inWords(written, places.table) };
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

type Finder = (modules: readonly ModelModule[]) => {
  readonly sizes: ReadonlyMap<ModelModule, SiteSize>;
  readonly problems: readonly string[];
  /** What matches nothing. */
  readonly unused: () => readonly string[];
};

function compileFinder(
  settings: LoraSettings,
  sites: Sites,
  source: OptionSource,
  problems: string[],
): Finder {
  const label = (name: keyof typeof LORA_OPTIONS): string => optionLabel(name, source);
  const compile = (name: keyof typeof LORA_OPTIONS, pattern: string, whole: string): Regex => {
    try {
      return compileRegex(whole);
    } catch (error) {
      if (!(error instanceof RegexError)) throw error;
      problems.push(
        `${label(name)} has ${
          quotedValue(pattern)
        }, which is no regular expression of Python's that can be used: ${error.message}`,
      );
      return NOTHING;
    }
  };
  const targets = nameTest(settings.targets, sites, (pattern) => compile("targets", pattern, pattern));
  const excluded = settings.excludeTargets === null
    ? null
    : nameTest(settings.excludeTargets, sites, (pattern) => compile("excludeTargets", pattern, pattern));
  const layerOf = layerReader(
    settings.layersPattern,
    (pattern, whole) => compile("layersPattern", pattern, whole),
  );
  const sized = (name: "rankPattern" | "alphaPattern"): readonly SizedPattern[] =>
    Object.entries(settings[name]).map(([key, value]) => ({
      key,
      value,
      ending: ENDING.exec(key)?.[1] ?? "",
      regex: compile(name, key, `(.*\\.)?(${key})$`),
    }));
  const [ranks, alphas] = [sized("rankPattern"), sized("alphaPattern")];
  const layers = settings.layersToTransform && new Set(settings.layersToTransform);
  const inLayers = (name: string): boolean => {
    if (layers === null || targets.isWhole(name)) return true; // as PEFT has it: a whole name needs no layer
    const layer = layerOf(name);
    return layer !== null && layers.has(layer);
  };
  return (modules) => {
    const chosen = modules.filter(({ name }) =>
      excluded?.matches(name) !== true && targets.matches(name) && inLayers(name)
    );
    const sizes = new Map(chosen.map((module) => {
      const rank = valueOf(ranks, module.name) ?? settings.rank;
      const alpha = valueOf(alphas, module.name) ?? settings.alpha;
      const scale = loraScale({ rank, alpha, useRslora: settings.useRslora });
      return [module, { rank, alpha, scale }] as const;
    }));
    const names = modules.map(({ name }) => name);
    return {
      sizes,
      problems: choiceProblems(settings, sites, chosen, label),
      unused: () => [
        ...unusedNames(settings.targets, names, sites, label("targets")),
        ...unusedNames(settings.excludeTargets ?? [], names, sites, label("excludeTargets")),
        ...unusedExpression(settings.excludeTargets, excluded, names, label("excludeTargets")),
        ...unusedLayers(settings, modules, label("layersToTransform")),
        ...unusedPatterns(ranks, chosen, label("rankPattern")),
        ...unusedPatterns(alphas, chosen, label("alphaPattern")),
      ],
    };
  };
}

/** In the place of a pattern that is none. */
const NOTHING: Regex = { matchesAll: () => false, matchStart: () => null };

interface NameTest {
  matches(name: string): boolean;
  /** Whether it is told by its whole name. */
  isWhole(name: string): boolean;
}

/** A regular expression matches whole names; a list holds names and their ends. */
function nameTest(
  asked: string | readonly string[],
  sites: Sites,
  compile: (pattern: string) => Regex,
): NameTest {
  if (typeof asked === "string") {
    const regex = compile(asked);
    return { matches: (name) => regex.matchesAll(name), isWhole: () => false };
  }
  const ends = new Set(asked.map((name) => peftName(name, sites)));
  return { matches: (name) => endsOf(name).some((end) => ends.has(end)), isWhole: (name) => ends.has(name) };
}

/** `a.b.c`, `b.c`, `c`. */
function endsOf(name: string): string[] {
  const parts = name.split(".");
  return parts.map((_, i) => parts.slice(i).join("."));
}

/** The layer that a name tells, by PEFT's own expressions. */
function layerReader(
  patterns: readonly string[] | null,
  compile: (pattern: string, whole: string) => Regex,
): (name: string) => number | null {
  const regexes = patterns === null
    ? [compileRegex(String.raw`.*?\.[^.]*\.(?P<idx>\d+)\.`)]
    : patterns.map((pattern) => compile(pattern, String.raw`(?:^|.*?\.)${pattern}\.(?P<idx>\d+)\.`));
  return (name) => {
    for (const regex of regexes) {
      const match = regex.matchStart(name, "idx");
      if (match !== null) return match.captured === null ? null : Number(match.captured);
    }
    return null;
  };
}

interface SizedPattern {
  readonly key: string;
  readonly value: number;
  /** What a name must end with: large models have a pattern for each of their modules. */
  readonly ending: string;
  readonly regex: Regex;
}

/** The word at the end of a pattern that is no more than names, dots and a beginning. */
const ENDING = /^\^?(?:(?:\w|\\?\.)*\\?\.)?(\w+)$/;

function matches({ ending, regex }: SizedPattern, name: string): boolean {
  return name.endsWith(ending) && regex.matchStart(name) !== null;
}

/** Of the first pattern that matches; null when none does. */
function valueOf(patterns: readonly SizedPattern[], name: string): number | null {
  return patterns.find((pattern) => matches(pattern, name))?.value ?? null;
}

function choiceProblems(
  settings: LoraSettings,
  sites: Sites,
  chosen: readonly ModelModule[],
  label: (name: keyof typeof LORA_OPTIONS) => string,
): string[] {
  const places = `only ${[...sites.words.values()].join(", ")} of the layers can`;
  const foreign = chosen.filter(({ site }) => site === null).map(({ name }) => name);
  if (foreign.length > 0) {
    const [first, second] = foreign;
    const which = foreign.length > 2
      ? `${first} and ${foreign.length - 1} more`
      : [first, second].filter(Boolean).join(" and ");
    return [
      `${label("targets")} ${
        shownTargets(settings.targets, sites)
      } takes in ${which}, which can have no delta here: ` +
      `${places}; leave it out, or exclude it (${label("excludeTargets")})`,
    ];
  }
  if (chosen.length > 0) return [];
  const narrowing = (["excludeTargets", "layersToTransform", "layersPattern"] as const)
    .filter((name) => settings[name] !== null)
    .map((name) => `${label(name)} ${quotedValue(settings[name])}`);
  return [
    `${label("targets")} ${shownTargets(settings.targets, sites)}${
      narrowing.length > 0 ? `, with ${narrowing.join(" and ")},` : ""
    } matches no weight of the model's layers: names are such as ${sites.example.whole}, and ${places}`,
  ];
}

function shownTargets(targets: string | readonly string[], sites: Sites): string {
  return quotedValue(typeof targets === "string" ? targets : targets.map((name) => peftName(name, sites)));
}

function unusedNames(
  asked: string | readonly string[],
  names: readonly string[],
  sites: Sites,
  label: string,
): string[] {
  if (typeof asked === "string") return [];
  const ends = new Set(names.flatMap(endsOf));
  const [words, modules] = [[...sites.words.keys()], [...sites.words.values()]];
  return asked.filter((name) => !ends.has(peftName(name, sites))).map((name) => {
    const hint = /^[\w.-]+$/.test(name)
      ? didYouMean(name, [...words, ...modules, "all"])
      : ": a regular expression stands alone, not in a list";
    return `${label} has ${quotedValue(name)}, which is the end of no module's name (there are ${
      words.join(", ")
    }, names such as ${modules[0]} or ${sites.example.bare}, and all)${hint}`;
  });
}

function unusedExpression(
  asked: string | readonly string[] | null,
  test: NameTest | null,
  names: readonly string[],
  label: string,
): string[] {
  if (typeof asked !== "string" || names.some((name) => test?.matches(name))) return [];
  return [`${label} ${quotedValue(asked)} matches no module of the model: it must match whole names`];
}

function unusedLayers(
  { layersToTransform }: LoraSettings,
  modules: readonly ModelModule[],
  label: string,
): string[] {
  const layers = new Set(modules.map(({ layer }) => layer));
  const beyond = (layersToTransform ?? []).filter((layer) => !layers.has(layer));
  if (beyond.length === 0) return [];
  const last = Math.max(...[...layers].map((layer) => layer ?? 0));
  return [`${label} has ${beyond.join(", ")}, but the model has layers 0 to ${last}`];
}

function unusedPatterns(
  patterns: readonly SizedPattern[],
  chosen: readonly ModelModule[],
  label: string,
): string[] {
  return patterns.filter((pattern) => !chosen.some(({ name }) => matches(pattern, name)))
    .map(({ key }) => `${label} has ${quotedValue(key)}, which matches no weight that gets a delta`);
}

function tableOf(sizes: ReadonlyMap<ModelModule, SiteSize>, { numHiddenLayers }: ModelConfig): LoraTable {
  const layers = Array.from({ length: numHiddenLayers }, () => new Map<string, SiteSize>());
  for (const [{ layer, site }, size] of sizes) {
    if (layer !== null && site !== null) layers[layer]?.set(site, size);
  }
  return layers;
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

/** A list that chooses the same sites in every layer, by those sites' words. */
function inWords(settings: LoraSettings, table: LoraTable): LoraSettings {
  const { targets, excludeTargets, layersToTransform } = settings;
  if (typeof targets === "string" || excludeTargets !== null || layersToTransform !== null) return settings;
  const [first, ...others] = table.map((layer) => [...layer.keys()]);
  const alike = others.every((sites) => sites.join() === first?.join());
  return alike && first ? { ...settings, targets: first } : settings;
}
