// SPDX-License-Identifier: Apache-2.0
/**
 * What may change when a run goes on. How long it is, and how it is computed, may: from the next step on the learning rate
 * follows the schedule of the new number of steps, as if that had been it all along, and the steps that were taken stay as
 * they are. What the steps taken mean may not: that would be another run.
 */
import { type Json, jsonDifferences, type JsonObject } from "../core/json.ts";
import { quotedValue } from "../core/quoted.ts";
import type { Run } from "./plan.ts";
import { runIdentity } from "./plan.ts";
import { identityPath, type Setting, SETTINGS } from "./setting_table.ts";

/** Parts of an identity that may change: length, and orders in which the same sums are taken. */
const MAY_CHANGE = SETTINGS.filter(({ mayChange }) => mayChange === true).map(identityPath);

const WAY_OUT = "leave it as it was, or begin a new run";

/**
 * Why a run cannot go on from what another one saved: one sentence each, none when it can.
 *
 * @param saved Identity of the run that saved     @param step Steps that it has taken
 */
export function identityProblems(saved: JsonObject, run: Run, step: number): string[] {
  const now = runIdentity(run);
  // What the data decides is not known of a run before it has its data.
  const isUndecided = (path: string): boolean =>
    run.adapterKind.findsFraction === true && path.endsWith(".fractionBits");
  const problems = jsonDifferences(saved, now)
    .filter(({ path }) => !isUndecided(path))
    .filter(({ path }) => !MAY_CHANGE.includes(path) || (path === "batch.micro" && meansMicroBatches(run)))
    .map(({ path, before, after }) => difference(run, path, before, after));
  if (run.totalSteps !== null && run.totalSteps < step) {
    problems.push(
      `the run would have ${run.totalSteps} steps, but has taken ${step} already: give more --steps or --epochs`,
    );
  }
  return problems;
}

/** Whether the results of a row depend on the other rows of its micro-batch. */
function meansMicroBatches({ adapterKind }: Run): boolean {
  return adapterKind.splitRefusal !== undefined;
}

function difference(run: Run, path: string, before: Json | undefined, after: Json | undefined): string {
  if (path === "baseHash") return otherBase(run.base.name, after, before);
  if (path === "startHash") {
    return `--adapter is another adapter than the run began with (hash ${short(after)}, then ${
      short(before)
    }): ${WAY_OUT}`;
  }
  const setting = settingAt(path);
  const name = setting === null ? path : `--${setting.flag}`;
  const why = path === "batch.micro" ? `, where ${run.adapterKind.splitRefusal}` : "";
  // What a record does not name is as it was before there was a choice.
  const [now, then] = [after, before].map((value) => shown(value === undefined ? setting?.default : value));
  return `${name} is ${now}, the run has ${then}${why}: ${WAY_OUT}`;
}

/** What is wrong when the weights are not those that the run was begun on, by the hashes of both. */
export function otherBase(name: string, now: Json | undefined, then: Json | undefined): string {
  return `--model ${name} holds other weights (hash ${short(now)}) than the run was begun on (hash ${
    short(then)
  }): ` +
    `put those back, or name their folder`;
}

/** The setting that says a part of an identity, or what it is part of. */
function settingAt(path: string): Setting | null {
  return SETTINGS.find((setting) => `${path}.`.startsWith(`${identityPath(setting)}.`)) ?? null;
}

function shown(value: Json | undefined): string {
  return value === undefined ? "not set" : quotedValue(value);
}

function short(hash: Json | undefined): string {
  return typeof hash === "string" ? hash.slice(0, 12) : "none";
}
