// SPDX-License-Identifier: Apache-2.0
/** Names, their ends and regular expressions matched against names of modules, as PEFT does that. */
import { compileRegex, type Regex } from "../../core/python_regex/regex.ts";
import type { Sites } from "../../models/modules.ts";
import { peftName } from "./config.ts";

/** In the place of a pattern that is none. */
export const NOTHING: Regex = { matchesAll: () => false, matchStart: () => null };

/** What is told by names. */
export interface NameTest {
  matches(name: string): boolean;
  /** Whether it is told by its whole name. */
  isWhole(name: string): boolean;
}

/** A regular expression matches whole names; a list holds names and their ends. */
export function nameTest(
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
export function endsOf(name: string): string[] {
  const parts = name.split(".");
  return parts.map((_, i) => parts.slice(i).join("."));
}

/** The layer that a name tells, by PEFT's own expressions. */
export function layerReader(
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

/** A rank or an alpha of its own, for the modules that a pattern matches. */
export interface SizedPattern {
  readonly key: string;
  readonly value: number;
  /** What a name must end with: large models have a pattern for each of their modules. */
  readonly ending: string;
  readonly regex: Regex;
}

/** The word at the end of a pattern that is no more than names, dots and a beginning. */
export const ENDING = /^\^?(?:(?:\w|\\?\.)*\\?\.)?(\w+)$/;

/** Whether a pattern is of a module's name. */
export function matches({ ending, regex }: SizedPattern, name: string): boolean {
  return name.endsWith(ending) && regex.matchStart(name) !== null;
}

/** Of the first pattern that matches; null when none does. */
export function valueOf(patterns: readonly SizedPattern[], name: string): number | null {
  return patterns.find((pattern) => matches(pattern, name))?.value ?? null;
}
