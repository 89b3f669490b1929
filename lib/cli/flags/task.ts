// SPDX-License-Identifier: Apache-2.0
/** The task that flags name. */
import type { SavedAdapter } from "../../adapters/files/saved_adapter.ts";
import { type OpenTask, openTask } from "../../train/open_task.ts";
import { modelFolder } from "../session.ts";
import type { FlagValues } from "./flags.ts";

/** The task of a command, with the head that its model is opened with. */
export function taskOfFlags(values: FlagValues, saved: SavedAdapter | null = null): Promise<OpenTask> {
  return openTask({
    task: values.task as string | undefined,
    model: modelFolder(values),
    data: (values.data ?? []) as readonly string[],
    saved: saved?.head ?? null,
    newHead: values["new-head"] === true,
  });
}
