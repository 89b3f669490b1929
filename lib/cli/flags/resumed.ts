// SPDX-License-Identifier: Apache-2.0
/** What `--resume` takes from the run: every flag that it was started with, so that only changes need to be given. */
import { isAbsolute, join } from "node:path";
import { throwIfAny, UserError } from "../../core/errors.ts";
import type { JsonObject } from "../../core/json.ts";
import { camelCase } from "../../core/options.ts";
import type { Model } from "../../models/model.ts";
import { askedBefore, readRecord, RECORD } from "../../train/run_record.ts";
import { flagsOfEarlier } from "./earlier.ts";
import { overlay, readRecordedFlags } from "./sources.ts";
import type { FlagValues } from "./flags.ts";
import { TRAIN_FLAGS } from "./train.ts";

const RECORDED = TRAIN_FLAGS.filter(({ ofCall }) => !ofCall);

/**
 * The flags of a run that goes on: those that it was started with, under those that are given now. Without a `run.json` all of
 * them must be given again: the demo's, which stand for what is left out, are not meant.
 *
 * @throws {UserError} When the method is another one, or what was written down is missing or cannot be read
 */
export async function withRecordedFlags(given: FlagValues): Promise<FlagValues> {
  if (given.resume !== true || given.out === undefined) return given;
  const out = given.out as string;
  const record = await readRecord(out);
  if (given.method !== undefined && record !== null && given.method !== record.method) {
    throw new UserError(
      `Resuming ${out}: --method is ${given.method}, the run has ${record.method}: leave it as it was, or begin a new run`,
    );
  }
  if (record === null) {
    if (given.model !== undefined || given.adapter !== undefined) return given; // its checkpoints say whether it is the same run
    throw new UserError(
      `${
        join(out, RECORD)
      } does not say what the run was started with: give --resume --model, --data and all its other flags`,
    );
  }
  const asked = askedBefore(record) ?? { flags: flagsOfEarlier(record), cwd: Deno.cwd() };
  const problems: string[] = [];
  const recorded = { ...readRecordedFlags(join(out, RECORD), asked.flags, RECORDED, problems) };
  throwIfAny(`The run in ${out}`, problems);
  // Relative paths are seen from the folder where the run was started.
  for (const { name, path: isPath } of RECORDED) {
    const value = recorded[name];
    if (value === undefined || !isPath) continue;
    const place = (path: string) => seenFrom(asked.cwd, path, isPath === true ? [] : isPath);
    recorded[name] = Array.isArray(value) ? (value as string[]).map(place) : place(value as string);
  }
  return overlay(RECORDED, recorded, given);
}

function seenFrom(cwd: string, path: string, words: readonly string[]): string {
  return cwd === Deno.cwd() || isAbsolute(path) || words.includes(path) ? path : join(cwd, path);
}

/** What is written down of a run's flags. What it multiplies in stays as it was decided, on other machines too. */
export function recordedFlags(values: FlagValues, { kernels: { compute } }: Model): JsonObject {
  const flags = RECORDED.flatMap(({ name }) =>
    values[name] === undefined ? [] : [[camelCase(name), values[name]] as const]
  );
  return { ...Object.fromEntries(flags), dtype: compute } as JsonObject;
}
