// SPDX-License-Identifier: Apache-2.0
/** Modules that are trained whole beside the deltas: no delta goes on those, as PEFT has it. */
import { quotedValue } from "../../core/quoted.ts";
import type { ModelModule } from "../../models/modules.ts";
import { meansModule, modulesLabel } from "../modules_to_save.ts";
import type { OptionSource } from "../option_source.ts";

/** Names of modules as far as they are names; what else is wrong with them is told where they are chosen. */
export function moduleNames(given: unknown): readonly string[] {
  return [given].flat().filter((name): name is string => typeof name === "string" && name !== "");
}

/** Whether a module is trained whole, or lies in one that is. */
export function trainedWhole(module: string, names: readonly string[]): boolean {
  const words = module.split(".");
  return words.some((_, i) => {
    const outer = words.slice(0, i + 1).join(".");
    return names.some((name) => outer.endsWith(name));
  });
}

/**
 * The targets without those that are trained whole. PEFT leaves these out of the deltas in silence; of a new adapter that is a
 * mistake, as what was asked for cannot be had.
 */
export function withoutWhole(
  chosen: readonly ModelModule[],
  names: readonly string[],
  source: OptionSource,
  targetsLabel: string,
): { readonly left: readonly ModelModule[]; readonly problems: readonly string[] } {
  const isExcluded = ({ name }: ModelModule): boolean =>
    source.by === "peft" && names.some((whole) => meansModule(whole, name));
  const left = chosen.filter((module) => !isExcluded(module));
  const both = left.filter(({ name }) => trainedWhole(name, names)).map(({ name }) => name);
  if (both.length === 0) return { left, problems: [] };
  const more = both.length > 1 ? ` and ${both.length - 1} more` : "";
  return {
    left,
    problems: [
      `${targetsLabel} takes in ${both[0]}${more}, which ${modulesLabel(source)} ${
        quotedValue(names)
      } trains whole: leave it out of one of the two (or exclude it: excludeTargets)`,
    ],
  };
}
