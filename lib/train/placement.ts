// SPDX-License-Identifier: Apache-2.0
/** How a run computes with the rows of its adapter. */
import type { Adapter, Placement, RowPlacement } from "../adapters/adapter.ts";
import { optionProblems, withDefaults } from "../core/option_checks.ts";
import { choice, integer, type OptionsOf } from "../core/options.ts";

/** Where and in how many parts rows are computed with. */
export const PLACEMENT_OPTIONS = {
  /** `auto` is what `planMeasured` predicts to be quicker; `host` for `plan`, which measures nothing. Default `auto`. */
  placement: choice(["auto", "host", "device"], {
    default: "auto",
    ofRows: true,
    mayChange: true,
    help: "where the adapter's rows are multiplied: in host memory, or where the model is; auto predicts",
  }),
  /** Parts that a micro-batch is computed in. `auto` is by prediction, else 1. Default `auto`. */
  halves: choice(["auto", "1", "2"], {
    default: "auto",
    ofRows: true,
    mayChange: true,
    help: "parts of a micro-batch that take turns, so that host work of one hides behind the other",
  }),
  /** Rows of each layer that the model's memory has room for with placement `device`; null for all. Default null. */
  cachedRows: integer({
    min: 1,
    nullable: true,
    defaultText: "all",
    ofRows: true,
    mayChange: "asked",
    help: "rows of each layer that the model's memory has room for with --placement device",
  }),
} as const;

/** What may be asked for. */
export type PlacementChoice = OptionsOf<typeof PLACEMENT_OPTIONS>;

/** What was decided. */
export interface RunPlacement {
  readonly placement: Placement;
  readonly halves: 1 | 2;
  readonly cachedRows: number;
}

/** Decides: on the host and whole, unless something else is asked for. Problems: one sentence each. */
export function resolvePlacement(
  choice: PlacementChoice,
  adapter: Adapter,
): { decided: RunPlacement; problems: string[] } {
  const { placement, halves, cachedRows = null } = withDefaults(PLACEMENT_OPTIONS, choice);
  const { selection, splitRefusal } = adapter;
  const problems = optionProblems(PLACEMENT_OPTIONS, { placement, halves, cachedRows });
  if (placement === "device" && !adapter.placements.includes("host")) {
    problems.push(`placement is device, but the ${adapter.kind} adapter is always where the model is`);
  }
  if (halves === 2 && splitRefusal !== undefined) problems.push(`halves is 2, but ${splitRefusal}: use 1`);
  const decided: RunPlacement = {
    placement: placement === "auto" ? "host" : placement,
    halves: halves === "auto" ? 1 : halves,
    cachedRows: Math.min(cachedRows ?? Infinity, selection?.neurons ?? 1),
  };
  return { decided, problems };
}

/** Where a run's adapter really works: what was decided, as far as the adapter leaves a choice. */
export function usedPlacement({ placements }: Adapter, { placement }: RunPlacement): Placement {
  return placements.includes(placement) ? placement : placements[0] ?? "device";
}

/** As adapters are told. */
export function rowPlacement({ placement, cachedRows }: RunPlacement): RowPlacement {
  return placement === "host" ? { kind: "host" } : { kind: "device", cachedRows };
}
