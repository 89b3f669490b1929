// SPDX-License-Identifier: Apache-2.0
/** What a run under way has on disk: where it starts from, its checkpoints, and its adapter at the end. */
import { dirname } from "node:path";
import { saveAdapterFiles } from "../adapters/files/adapter_files.ts";
import { parameterSources } from "../adapters/finite.ts";
import { NotFiniteError } from "../core/errors.ts";
import type { Dataset } from "../data/dataset.ts";
import { explainNotFinite } from "../evaluate/not_finite.ts";
import { searchFinite } from "../tensor/finite.ts";
import type { BaseWatch } from "./base_watch.ts";
import { loadCheckpoint, newestCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { removeUnfinished, setLaterAside } from "./checkpoint_folder.ts";
import type { Forecast } from "./forecast.ts";
import type { Clock } from "./lanes.ts";
import type { MetricsLog } from "./metrics_log.ts";
import type { Run } from "./plan.ts";
import type { RunFolder } from "./run_folder.ts";
import { flushState, init, type TrainState } from "./state.ts";
import { withinDevice } from "./within_device.ts";

/** What is known of a run under way. */
export interface Session {
  readonly run: Run;
  readonly data: Dataset;
  readonly dataHash: string;
  readonly folder: RunFolder | null;
  /** Tells what is worth knowing, once. */
  readonly warn: (warning: string) => void;
  readonly base: BaseWatch | null;
  readonly clock: Clock | undefined;
  /** Says what would fit a device without room. */
  readonly forecast: Forecast | null;
}

/** The state that a run starts from: a new one, or that of a checkpoint. */
export async function startState(session: Session, resume: boolean | string): Promise<TrainState> {
  const { run, dataHash, folder, forecast } = session;
  if (resume === false) return await withinDevice(run, () => init(run), forecast);
  const path = typeof resume === "string" ? resume : folder && await newestCheckpoint(folder.checkpoints);
  // A run that was killed before its first checkpoint starts again from the beginning.
  const state = await withinDevice(
    run,
    () => path === null ? init(run) : loadCheckpoint(run, dataHash, path),
    forecast,
  );
  const aside = folder && await setLaterAside(folder.checkpoints, state.step);
  if (aside) session.warn(aside);
  // In a folder of its own, so that it goes on from there whenever it is killed.
  if (folder && typeof resume === "string") await saveState(session, state, null);
  return state;
}

/** The run folder that a named checkpoint lies in. */
export function folderOfRun(resume: boolean | string): string | null {
  return typeof resume === "string" ? dirname(dirname(resume)) : null;
}

/** Saves a checkpoint, the log before it; @returns its folder, or null without one of the run. */
export async function saveState(
  session: Session,
  state: TrainState,
  log: MetricsLog | null,
): Promise<string | null> {
  if (session.folder === null) return null;
  await session.folder.assertThere();
  await log?.sync();
  const changed = await session.base?.check();
  if (changed) session.warn(changed);
  const { run, dataHash, folder, warn } = session;
  try {
    return await saveCheckpoint(run, state, dataHash, folder.checkpoints, { onWarning: warn });
  } catch (error) {
    await folder.assertThere(); // where it left in the middle, that is what there is to say
    throw error;
  }
}

/** Saves what was learnt at the end; @returns its folder, or null without one of the run. */
export async function exportAdapter({ run, folder }: Session, state: TrainState): Promise<string | null> {
  if (folder === null) return null;
  await folder.assertThere();
  await flushState(run, state);
  await assertWorthKeeping(run, state);
  await saveAdapterFiles(run.model, state.params, run.base, folder.adapter);
  await removeUnfinished(folder.checkpoints); // what could not be removed before: nobody comes back for it
  return folder.adapter;
}

/** The loss of each step says whether the one before it ended well; of the last step nothing would. */
async function assertWorthKeeping({ model }: Run, { step, params }: TrainState): Promise<void> {
  const { broken } = await searchFinite(parameterSources(model.kernels, params));
  if (broken === null) return;
  const cause = await explainNotFinite(model, params);
  throw new NotFiniteError(`Step ${step} was the last, and no adapter of it is written. ${cause}`);
}
