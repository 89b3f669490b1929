// SPDX-License-Identifier: Apache-2.0
/** What of the options matches nothing, or what can have no delta: one sentence each, by the names that their writer knows. */
import { quotedValue } from "../../core/quoted.ts";
import { didYouMean } from "../../core/suggestion.ts";
import type { ModelModule, Sites } from "../../models/modules.ts";
import { peftName } from "./config.ts";
import { endsOf, matches, type NameTest, type SizedPattern } from "./patterns.ts";
import type { LORA_OPTIONS, LoraSettings } from "./options.ts";

export function choiceProblems(
  settings: LoraSettings,
  sites: Sites,
  chosen: readonly ModelModule[],
  label: (name: keyof typeof LORA_OPTIONS) => string,
): string[] {
  const head = sites.ofHead.map((name) => `, and ${name}`).join("");
  const places = `only ${[...sites.words.values()].join(", ")} of the layers${head} can`;
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

export function unusedNames(
  asked: readonly string[],
  names: readonly string[],
  sites: Sites,
  label: string,
): string[] {
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

export function unusedExpression(
  asked: string | readonly string[] | null,
  test: NameTest | null,
  names: readonly string[],
  label: string,
): string[] {
  if (typeof asked !== "string" || names.some((name) => test?.matches(name))) return [];
  return [`${label} ${quotedValue(asked)} matches no module of the model: it must match whole names`];
}

export function unusedLayers(
  { layersToTransform }: LoraSettings,
  modules: readonly ModelModule[],
  label: string,
): string[] {
  const layers = new Set(modules.map(({ layer }) => layer));
  const beyond = (layersToTransform ?? []).filter((layer) => !layers.has(layer));
  if (beyond.length === 0) return [];
  const numbers = [...layers].filter((layer) => layer !== null);
  const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
  const which = first > 0
    ? `of the model's layers ${first} to ${last} are not frozen`
    : `the model has layers 0 to ${last}`;
  return [`${label} has ${beyond.join(", ")}, but ${which}`];
}

export function unusedPatterns(
  patterns: readonly SizedPattern[],
  chosen: readonly ModelModule[],
  label: string,
): string[] {
  return patterns.filter((pattern) => !chosen.some(({ name }) => matches(pattern, name)))
    .map(({ key }) => `${label} has ${quotedValue(key)}, which matches no weight that gets a delta`);
}
