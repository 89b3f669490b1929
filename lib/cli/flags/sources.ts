// SPDX-License-Identifier: Apache-2.0
/** Where flags come from: the command line and a config file, each read by the command's table of flags. */
import type { Command } from "commander";
import { readText, readValue, SEVERAL } from "../../core/option_values.ts";
import { camelCase } from "../../core/options.ts";
import { quotedValue } from "../../core/quoted.ts";
import { isJsonObject, type JsonObject } from "../../core/json.ts";
import { nearestName } from "../../core/suggestion.ts";
import { problemOf } from "../../files/errors.ts";
import { readJsonSync } from "../../files/read.ts";
import type { Flag, FlagValues } from "./flags.ts";

/** Reads one source of values. @mutates problems */
function readSource(
  flags: readonly Flag[],
  raw: (flag: Flag) => unknown,
  label: (flag: Flag) => string,
  problems: string[],
): FlagValues {
  const values: Record<string, FlagValues[string]> = {};
  for (const flag of flags) {
    const given = raw(flag);
    if (given === undefined) continue;
    const value = readValue(flag, label(flag), given, problems);
    if (value !== null) values[flag.name] = value;
  }
  return values;
}

/** What people write themselves says one thing in one way. @mutates problems */
function refuseBoth(
  flags: readonly Flag[],
  values: FlagValues,
  label: (flag: Flag) => string,
  problems: string[],
): void {
  for (const flag of flags) {
    const other = flags.find(({ name }) => name === flag.insteadOf);
    if (!other || values[flag.name] === undefined || values[other.name] === undefined) continue;
    problems.push(`${label(flag)} is given instead of ${label(other)}, and both are given: keep one`);
  }
}

/** Values of two sources: the higher one's count, also where they stand in for others of the lower one. */
export function overlay(flags: readonly Flag[], lower: FlagValues, higher: FlagValues): FlagValues {
  const kept: Record<string, FlagValues[string]> = { ...lower };
  for (const { name, insteadOf } of flags) {
    if (insteadOf === undefined) continue;
    if (higher[insteadOf] !== undefined) delete kept[name];
    if (higher[name] !== undefined) delete kept[insteadOf];
  }
  return { ...kept, ...higher };
}

/** Flags on the command line that the table lacks, each with the nearest that it has. */
function unknownFlags(flags: readonly Flag[], rest: readonly string[], problems: string[]): void {
  const names = flags.map((flag) => flag.name);
  rest.forEach((text, i) => {
    if (text.startsWith("-")) {
      const [flag = "", value] = text.split("=");
      const name = flag.replace(/^-+/, "");
      const hint = nearestName(name, names);
      problems.push(
        value !== undefined && names.includes(name)
          ? `${flag} takes no value, and is given ${quotedValue(value)}`
          : `unknown flag ${flag}${hint === null ? "" : `; did you mean --${hint}?`}`,
      );
    } else if (!rest[i - 1]?.startsWith("-")) {
      problems.push(`"${text}" belongs to no flag`);
    }
  });
}

/** The one value of a flag that takes one; given several times it must be the same. @mutates problems */
function onlyValue(flag: Flag, given: unknown, problems: string[]): unknown {
  if (SEVERAL.has(flag.kind) || !Array.isArray(given)) return given;
  const [first, ...others] = new Set(given as string[]);
  const all = [first, ...others].map((value) => quotedValue(value));
  if (others.length > 0) problems.push(`--${flag.name} is given as ${all.join(" and as ")}: keep one`);
  return first;
}

/** Values of a parsed command line. @param argument What may stand first, without a flag. @mutates problems */
export function readFlags(
  command: Command,
  flags: readonly Flag[],
  problems: string[],
  argument?: Flag,
): FlagValues {
  const [first] = command.args;
  const takesFirst = argument !== undefined && first !== undefined && !first.startsWith("-");
  unknownFlags(flags, takesFirst ? command.args.slice(1) : command.args, problems);
  const given: Record<string, unknown> = command.opts();
  const values = readSource(
    flags,
    (flag) => onlyValue(flag, given[camelCase(flag.name)], problems),
    (flag) => `--${flag.name}`,
    problems,
  );
  refuseBoth(flags, values, (flag) => `--${flag.name}`, problems);
  const value = takesFirst ? readText(argument, `the ${argument.name}`, first, problems) : null;
  return value === null ? values : { ...values, [argument?.name as string]: value };
}

/** Values of a config file: an object with flag names, kebab-case or camelCase, as keys. @mutates problems */
export function readConfigFile(path: string, flags: readonly Flag[], problems: string[]): FlagValues {
  const parsed = parseConfigFile(path, problems);
  if (parsed === null) return {};
  const known = new Set(flags.flatMap((flag) => [flag.name, camelCase(flag.name)]));
  for (const key of Object.keys(parsed)) {
    if (known.has(key)) continue;
    const hint = nearestName(key, known);
    problems.push(
      `${path}: unknown key ${quotedValue(key)}${hint === null ? "" : `; did you mean "${hint}"?`}`,
    );
  }
  const has = (key: string): boolean => Object.hasOwn(parsed, key);
  const raw = (flag: Flag): unknown => {
    const [name, camel] = [flag.name, camelCase(flag.name)];
    if (name !== camel && has(name) && has(camel)) {
      problems.push(`${path} has both "${name}" and "${camel}", which are one flag: keep one`);
    }
    return has(camel) ? parsed[camel] : has(name) ? parsed[name] : undefined;
  };
  const label = (flag: Flag): string => `${path}: "${camelCase(flag.name)}"`;
  const values = readSource(flags, raw, label, problems);
  refuseBoth(flags, values, label, problems);
  return values;
}

/** Values that a command wrote down itself: keys are flags in camelCase, others are of other versions. @mutates problems */
export function readRecordedFlags(
  path: string,
  recorded: JsonObject,
  flags: readonly Flag[],
  problems: string[],
): FlagValues {
  const raw = (flag: Flag): unknown => recorded[camelCase(flag.name)];
  return readSource(flags, raw, (flag) => `${path}: "${camelCase(flag.name)}"`, problems);
}

/** The object of a config file; null, with a problem, when it is none that can be trusted. @mutates problems */
function parseConfigFile(path: string, problems: string[]): Readonly<Record<string, unknown>> | null {
  try {
    const value = readJsonSync(path);
    if (isJsonObject(value)) return value;
    problems.push(`--config ${path} holds no JSON object`);
  } catch (error) {
    problems.push(`--config: ${problemOf(error)}`);
  }
  return null;
}
