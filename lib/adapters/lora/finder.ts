// SPDX-License-Identifier: Apache-2.0
/** Which modules of a model get a delta, and of what size, as PEFT finds them. */
import { RegexError } from "../../core/python_regex/nodes.ts";
import { compileRegex, type Regex } from "../../core/python_regex/regex.ts";
import { quotedValue } from "../../core/quoted.ts";
import type { ModelModule, Sites } from "../../models/modules.ts";
import type { OptionSource } from "../option_source.ts";
import { loraScale } from "./config.ts";
import { type LORA_OPTIONS, type LoraSettings, optionLabel } from "./options.ts";
import { ENDING, layerReader, nameTest, NOTHING, type SizedPattern, valueOf } from "./patterns.ts";
import { withoutWhole } from "./whole_modules.ts";
import { choiceProblems, unusedExpression, unusedLayers, unusedNames, unusedPatterns } from "./unmatched.ts";

/** One weight's delta. */
export interface SiteSize {
  /** R. */
  readonly rank: number;
  readonly alpha: number;
  /** What B A is multiplied by. */
  readonly scale: number;
}

/** Finds which of a model's modules get a delta. @param frozen Those that get none whatever they are called */
export type Finder = (modules: readonly ModelModule[], frozen: readonly ModelModule[]) => {
  readonly sizes: ReadonlyMap<ModelModule, SiteSize>;
  readonly problems: readonly string[];
  /** What matches nothing. */
  readonly unused: () => readonly string[];
};

/**
 * A finder of what the settings say.
 *
 * @param given Who wrote the settings, and what of the model is trained whole @mutates problems: patterns that are none
 */
export function compileFinder(
  settings: LoraSettings,
  sites: Sites,
  { source, whole }: { readonly source: OptionSource; readonly whole: readonly string[] },
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
  return (modules, frozen) => {
    const targeted = modules.filter(({ name }) =>
      excluded?.matches(name) !== true && targets.matches(name) && inLayers(name)
    );
    const { left: chosen, problems: both } = withoutWhole(targeted, whole, source, label("targets"));
    const sizes = new Map(chosen.map((module) => {
      const rank = valueOf(ranks, module.name) ?? settings.rank;
      const alpha = valueOf(alphas, module.name) ?? settings.alpha;
      const scale = loraScale({ rank, alpha, useRslora: settings.useRslora });
      return [module, { rank, alpha, scale }] as const;
    }));
    const names = modules.map(({ name }) => name);
    // What is a name of one layer has to be found there; a word for many may mean those of frozen layers alone.
    const words = [...modules, ...frozen].map(({ name }) => name);
    const isOfOne = (name: string): boolean => /\.\d+\./.test(name);
    const unusedOf = (name: "targets" | "excludeTargets"): string[] => {
      const asked = settings[name] ?? [];
      if (typeof asked === "string") return [];
      return [
        ...unusedNames(asked.filter((one) => !isOfOne(one)), words, sites, label(name)),
        ...unusedNames(asked.filter(isOfOne), names, sites, label(name)),
      ];
    };
    return {
      sizes,
      problems: [...choiceProblems(settings, sites, chosen, label), ...both],
      unused: () => [
        ...unusedOf("targets"),
        ...unusedOf("excludeTargets"),
        ...unusedExpression(settings.excludeTargets, excluded, names, label("excludeTargets")),
        ...unusedLayers(settings, modules, label("layersToTransform")),
        ...unusedPatterns(ranks, chosen, label("rankPattern")),
        ...unusedPatterns(alphas, chosen, label("alphaPattern")),
      ],
    };
  };
}
