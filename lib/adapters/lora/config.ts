// SPDX-License-Identifier: Apache-2.0
/** The options of LoRA, decided; every mistake found at once. `table.ts` finds in a model the weights that are meant. */
import {
  expectedText,
  optionProblems,
  recordedOptions,
  takes,
  unknownOptions,
  withDefaults,
} from "../../core/option_checks.ts";
import type { OptionSpec } from "../../core/options.ts";
import { quotedValue } from "../../core/quoted.ts";
import { isJsonObject, type JsonObject } from "../../core/json.ts";
import type { Sites } from "../../models/modules.ts";
import type { OptionSource } from "../option_source.ts";
import { LORA_OPTIONS, type LoraOptions, type LoraSettings, optionLabel } from "./options.ts";
import { trainedWhole } from "./whole_modules.ts";

/** Names of what is meant by all linear weights; null where a target is no such name. */
type AllMeant = (target: unknown) => readonly string[] | null;

/**
 * What names for all linear weights mean: ours those of every layer, PEFT's, alone and in either case, also those of the head,
 * but for what is trained whole.
 */
function allMeant({ words, ofHead }: Sites, whole: readonly string[], { by }: OptionSource): AllMeant {
  return (target) => {
    if (typeof target !== "string") return null;
    const head = ofHead.filter((name) => !trainedWhole(name, whole));
    if (target.toLowerCase() === "all-linear") return [...words.keys(), ...head];
    return by === "user" && target === "all" ? [...words.keys()] : null;
  };
}

/** A text that can only be a name: the user may give one without a list around it. */
function isName(text: string, { by }: OptionSource): boolean {
  return by === "user" && /^[\w.-]+$/.test(text);
}

/**
 * Decides all options. Problems: one sentence each. They may come from a file: types are checked too.
 *
 * @param sites Of the model     @param whole Names of modules that are trained whole: no delta of all goes on those
 */
export function resolveLora(
  given: LoraOptions,
  sites: Sites,
  source: OptionSource = { by: "user" },
  whole: readonly string[] = [],
): { settings: LoraSettings; problems: string[] } {
  const options = source.by === "peft" ? withoutWords(given, sites) : given;
  const all = allMeant(sites, whole, source);
  const schema = { ...LORA_OPTIONS, alpha: alphaOf(source) };
  const chosen = withDefaults(LORA_OPTIONS, options);
  const problems = unknownOptions(LORA_OPTIONS, options, "LoRA");
  const reader = optionReader(source, sites, all, problems);
  problems.push(...optionProblems(schema, chosen, (name) => reader.label(name as keyof LoraOptions)));
  const { targets } = chosen;
  const settings: LoraSettings = {
    ...chosen,
    targets: targets === null
      ? sites.peftDefault
      : reader.words("targets", all(targets) ?? targets) ?? [...sites.words.keys()],
    excludeTargets: reader.words("excludeTargets", options.excludeTargets ?? null),
    layersToTransform: reader.layers(options.layersToTransform ?? null),
    layersPattern: reader.patterns(options.layersPattern ?? null),
    rankPattern: reader.pattern("rankPattern", options.rankPattern ?? {}, schema.rank),
    alphaPattern: reader.pattern("alphaPattern", options.alphaPattern ?? {}, schema.alpha),
  };
  togetherProblems(options, settings, reader);
  return { settings, problems };
}

/** What PEFT has written: our short words are names of modules that no model has, which it passes over. */
function withoutWords(options: LoraOptions, { words }: Sites): LoraOptions {
  const without = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.filter((name) => !words.has(name));
    if (!isJsonObject(value)) return value;
    return Object.fromEntries(Object.entries(value).filter(([name]) => !words.has(name)));
  };
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [name, without(value)]));
}

/** A saved adapter may have been scaled by anything; a new one would learn nothing with 0. */
function alphaOf({ by }: OptionSource): OptionSpec {
  if (by === "user") return LORA_OPTIONS.alpha;
  const { min: _min, above: _above, ...anyNumber } = LORA_OPTIONS.alpha;
  return anyNumber;
}

/** PEFT's own rules for options that do not go together. */
function togetherProblems(
  options: LoraOptions,
  settings: LoraSettings,
  { label, problems }: OptionReader,
): void {
  const isRegex = typeof settings.targets === "string";
  for (const name of ["layersToTransform", "layersPattern"] as const) {
    if (!isRegex || (options[name] ?? null) === null) continue;
    problems.push(
      `${label(name)} does not go with a regular expression for ${label("targets")}: put the layers into ` +
        `the expression, or list the ends of names`,
    );
  }
  if (settings.layersPattern !== null && (options.layersToTransform ?? null) === null && !isRegex) {
    problems.push(
      `${label("layersPattern")} says nothing without ${label("layersToTransform")}: give both, or neither`,
    );
  }
}

type OptionReader = ReturnType<typeof optionReader>;

/** Reads options of unknown types. @mutates problems */
function optionReader(source: OptionSource, sites: Sites, all: AllMeant, problems: string[]) {
  const words = [...sites.words.keys()];
  const label = (name: keyof LoraOptions): string => optionLabel(name, source);
  const check = (ok: boolean, name: keyof LoraOptions, value: unknown, expected: string): boolean => {
    if (!ok) problems.push(`${label(name)} is ${quotedValue(value)}, expected ${expected}`);
    return ok;
  };
  const isTexts = (value: unknown): value is readonly string[] =>
    Array.isArray(value) && value.every((item) => typeof item === "string" && item !== "");
  return {
    problems,
    label,
    check,
    /** A regular expression, or a list of words and names. */
    words(name: "targets" | "excludeTargets", value: unknown): string | readonly string[] | null {
      if (
        name === "excludeTargets" &&
        (value === null || value === "" || (isTexts(value) && value.length === 0))
      ) {
        return null;
      }
      const expected = `some of ${words.join(", ")}, ends of module names such as ` +
        `${[...sites.words.values()][0]} or ${sites.example.bare}, a regular expression alone, or "all"`;
      if (typeof value === "string" && value !== "" && !isName(value, source)) return value;
      const list = typeof value === "string" && value !== "" ? [value] : value;
      if (!check(isTexts(list) && list.length > 0, name, value, expected)) return null;
      const names = list as readonly string[];
      const meant = name === "targets" && source.by === "user"
        ? names.flatMap((item) => all(item) ?? [])
        : [];
      return wordsFirst(meant.length > 0 ? meant : names, sites);
    },
    layers(value: unknown): readonly number[] | null {
      if (value === null) return null;
      const layers = typeof value === "number" ? [value] : value;
      const ok = Array.isArray(layers) && layers.every((layer) => Number.isSafeInteger(layer));
      if (!check(ok, "layersToTransform", value, "a layer's number from 0, or a list of them")) return null;
      const sorted = [...new Set(layers as readonly number[])].sort((a, b) => a - b);
      return sorted.length === 0 ? null : sorted;
    },
    patterns(value: unknown): readonly string[] | null {
      if (value === null || value === "") return null;
      const patterns = typeof value === "string" ? [value] : value;
      if (!check(isTexts(patterns), "layersPattern", value, "a text, or a list of texts")) return null;
      return (patterns as readonly string[]).length === 0 ? null : patterns as readonly string[];
    },
    pattern(
      name: "rankPattern" | "alphaPattern",
      value: unknown,
      rule: OptionSpec,
    ): Readonly<Record<string, number>> {
      if (!check(isJsonObject(value), name, value, 'an object such as {"q_proj": 16}')) return {};
      const entries = Object.entries(value as JsonObject).map(([key, number]) => {
        if (!takes(rule, number)) {
          problems.push(
            `${label(name)} has ${quotedValue(number)} for ${quotedValue(key)}, expected ${
              expectedText(rule)
            }`,
          );
        }
        return [peftName(key, sites), number as number] as const;
      });
      return Object.fromEntries(entries);
    },
  };
}

/** Each once: `q` for `q_proj` too, in the order of the sites, then other names in their own. */
function wordsFirst(names: readonly string[], { words }: Sites): readonly string[] {
  const given = new Set(names);
  const chosen = [...words].filter((both) => both.some((name) => given.has(name)));
  const known = new Set(chosen.flat());
  return [...chosen.map(([site]) => site), ...[...given].filter((name) => !known.has(name)).sort()];
}

/** The name that PEFT knows a word by; other names are their own. */
export function peftName(name: string, { words }: Pick<Sites, "words">): string {
  return words.get(name) ?? name;
}

/** Settings as they are recorded: what chooses nothing is left out. */
export function loraConfig(settings: LoraSettings): JsonObject {
  return recordedOptions(LORA_OPTIONS, settings);
}

/** What a delta B A is multiplied by. */
export function loraScale(
  { alpha, rank, useRslora }: Pick<LoraSettings, "alpha" | "rank" | "useRslora">,
): number {
  return alpha / (useRslora ? Math.sqrt(rank) : rank);
}
