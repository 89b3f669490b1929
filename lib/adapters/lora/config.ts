// SPDX-License-Identifier: Apache-2.0
/**
 * Sizes and modes of LoRA, by PEFT's defaults where they are not the paper's; every mistake found at once. Which weights are
 * meant is told in PEFT's ways; `lora_table.ts` finds them in a model.
 */
import { quotedValue } from "../../core/quoted.ts";
import { isJsonObject, type JsonObject } from "../../core/json.ts";
import { didYouMean } from "../../core/suggestion.ts";
import { moduleWord } from "../../models/modules.ts";
import { LINEAR_SITES, type LinearSite } from "../../models/sites.ts";
import { optionLabel, type OptionSource } from "../option_source.ts";

/** Choices of LoRA. */
export interface LoraOptions {
  /** R: rank of every delta, where `rankPattern` says no other. Default 8. */
  readonly rank?: number;
  /** The delta is scaled by alpha / rank. Default 16, where `alphaPattern` says no other. */
  readonly alpha?: number;
  /** Share of a weight's inputs that the delta does not see in a training step. Default 0. */
  readonly dropout?: number;
  /** Scales by alpha / sqrt(rank) instead, so that the rank does not change the size of updates. Default false. */
  readonly useRslora?: boolean;
  /**
   * The weights that get a delta. A list holds words (`q`, `k`, `v`, `o`, `gate`, `up`, `down`) and ends of module names
   * (`q_proj`, `self_attn.q_proj`, `model.layers.0.self_attn.q_proj`); one text is a regular expression of Python's that
   * matches whole module names (`model\.layers\.\d+\.self_attn\.[qv]_proj`), "all" and "all-linear" are all seven weights of
   * every layer, and null is what PEFT takes by default, q and v. Default "all".
   */
  readonly targets?: string | readonly string[] | null;
  /** Weights that get none although they are targets, told in the same ways. Default none. */
  readonly excludeTargets?: string | readonly string[] | null;
  /** The layers whose weights are targets, from 0; does not go with a regular expression. Default all. */
  readonly layersToTransform?: number | readonly number[] | null;
  /** What stands before a layer's number in module names, as regular expressions: PEFT's `layers_pattern`. Default any. */
  readonly layersPattern?: string | readonly string[] | null;
  /**
   * Other ranks, by the end of a module's name as a regular expression: `{"q_proj": 16, "layers\\.[01]\\..*": 4}`. The first
   * that matches counts.
   */
  readonly rankPattern?: Readonly<Record<string, number>> | null;
  /** Other alphas, in the same way. */
  readonly alphaPattern?: Readonly<Record<string, number>> | null;
}

/** {@linkcode LoraOptions}, all decided. What chooses nothing is null or empty. */
export interface LoraSettings {
  readonly rank: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly useRslora: boolean;
  /** A regular expression; or a list, the words first, in the order of `LINEAR_SITES`. */
  readonly targets: string | readonly string[];
  readonly excludeTargets: string | readonly string[] | null;
  /** Increasing. */
  readonly layersToTransform: readonly number[] | null;
  readonly layersPattern: readonly string[] | null;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
}

/** Names of all options. */
const OPTION_NAMES: readonly string[] = [
  "rank",
  "alpha",
  "dropout",
  "useRslora",
  "targets",
  "excludeTargets",
  "layersToTransform",
  "layersPattern",
  "rankPattern",
  "alphaPattern",
];

/** What PEFT targets in all families that are known here when it is told nothing. */
const PEFT_TARGETS: readonly LinearSite[] = ["q", "v"];

/** The names for all seven weights of every layer; PEFT knows the second, alone and in either case. */
function meansAll(target: unknown, { by }: OptionSource): boolean {
  if (typeof target !== "string") return false;
  return target.toLowerCase() === "all-linear" || (by === "user" && target === "all");
}

/** A text that can only be a name: the user may give one without a list around it. */
function isName(text: string, { by }: OptionSource): boolean {
  return by === "user" && /^[\w.-]+$/.test(text);
}

/** Decides all options. Problems: one sentence each. They may come from a file: types are checked too. */
export function resolveLora(
  options: LoraOptions,
  source: OptionSource = { by: "user" },
): { settings: LoraSettings; problems: string[] } {
  const problems = Object.keys(options)
    .filter((name) => !OPTION_NAMES.includes(name))
    .map((name) => `"${name}" is no option of LoRA${didYouMean(name, OPTION_NAMES)}`);
  const reader = optionReader(source, problems);
  const targets = options.targets === undefined ? "all" : options.targets;
  const settings: LoraSettings = {
    ...readNumbers(options, source, reader),
    targets: targets === null
      ? PEFT_TARGETS
      : reader.words("targets", meansAll(targets, source) ? LINEAR_SITES : targets) ?? LINEAR_SITES,
    excludeTargets: reader.words("excludeTargets", options.excludeTargets ?? null),
    layersToTransform: reader.layers(options.layersToTransform ?? null),
    layersPattern: reader.patterns(options.layersPattern ?? null),
    rankPattern: reader.pattern("rankPattern", options.rankPattern ?? {}, isRank),
    alphaPattern: reader.pattern("alphaPattern", options.alphaPattern ?? {}, isAlpha(source)),
  };
  togetherProblems(options, settings, reader);
  return { settings, problems };
}

function readNumbers(options: LoraOptions, source: OptionSource, { check }: OptionReader) {
  const { rank = 8, alpha = 16, dropout = 0, useRslora = false } = options;
  check(isRank.allows(rank), "rank", rank, isRank.expected);
  check(isAlpha(source).allows(alpha), "alpha", alpha, isAlpha(source).expected);
  check(
    Number.isFinite(dropout) && dropout >= 0 && dropout < 1,
    "dropout",
    dropout,
    "a number from 0 to below 1",
  );
  check(typeof useRslora === "boolean", "useRslora", useRslora, "true or false");
  return { rank, alpha, dropout, useRslora };
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

/** A rule for a number. */
interface NumberRule {
  readonly allows: (value: unknown) => boolean;
  readonly expected: string;
}

const isRank: NumberRule = {
  allows: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
  expected: "a whole number of at least 1",
};

/** A saved adapter may have been scaled by anything; a new one would learn nothing with 0. */
function isAlpha({ by }: OptionSource): NumberRule {
  if (by === "peft") return { allows: Number.isFinite, expected: "a number" };
  return { allows: (value) => Number.isFinite(value) && (value as number) > 0, expected: "a number above 0" };
}

type OptionReader = ReturnType<typeof optionReader>;

/** Reads options of unknown types. @mutates problems */
function optionReader(source: OptionSource, problems: string[]) {
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
      const expected = `some of ${LINEAR_SITES.join(", ")}, ends of module names such as ` +
        `${moduleWord("q")} or layers.0.self_attn.q_proj, a regular expression alone, or "all"`;
      if (typeof value === "string" && value !== "" && !isName(value, source)) return value;
      const list = typeof value === "string" && value !== "" ? [value] : value;
      if (!check(isTexts(list) && list.length > 0, name, value, expected)) return null;
      const names = list as readonly string[];
      const all = name === "targets" && source.by === "user" && names.some((item) => meansAll(item, source));
      return all ? LINEAR_SITES : wordsFirst(names);
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
      rule: NumberRule,
    ): Readonly<Record<string, number>> {
      if (!check(isJsonObject(value), name, value, 'an object such as {"q_proj": 16}')) return {};
      const entries = Object.entries(value as JsonObject).map(([key, number]) => {
        if (!rule.allows(number)) {
          problems.push(
            `${label(name)} has ${quotedValue(number)} for ${quotedValue(key)}, expected ${rule.expected}`,
          );
        }
        return [isWord(key) ? moduleWord(key) : key, number as number] as const;
      });
      return Object.fromEntries(entries);
    },
  };
}

function isWord(name: string): name is LinearSite {
  return (LINEAR_SITES as readonly string[]).includes(name);
}

/** Each once: `q` for `q_proj` too, in the order of `LINEAR_SITES`, then other names in their own. */
function wordsFirst(names: readonly string[]): readonly string[] {
  const given = new Set(names);
  const words = LINEAR_SITES.filter((site) => given.has(site) || given.has(moduleWord(site)));
  const known = new Set<string>(words.flatMap((site) => [site, moduleWord(site)]));
  return [...words, ...[...given].filter((name) => !known.has(name)).sort()];
}

/** The name that PEFT knows a word by; other names are their own. */
export function peftName(name: string): string {
  return isWord(name) ? moduleWord(name) : name;
}

/** Settings as they are recorded: what chooses nothing is left out. */
export function loraConfig(settings: LoraSettings): JsonObject {
  const { excludeTargets, layersToTransform, layersPattern, rankPattern, alphaPattern, ...always } = settings;
  return {
    ...always,
    ...(excludeTargets !== null && { excludeTargets }),
    ...(layersToTransform !== null && { layersToTransform }),
    ...(layersPattern !== null && { layersPattern }),
    ...(Object.keys(rankPattern).length > 0 && { rankPattern }),
    ...(Object.keys(alphaPattern).length > 0 && { alphaPattern }),
  };
}

/** What a delta B A is multiplied by. */
export function loraScale(
  { alpha, rank, useRslora }: Pick<LoraSettings, "alpha" | "rank" | "useRslora">,
): number {
  return alpha / (useRslora ? Math.sqrt(rank) : rank);
}
