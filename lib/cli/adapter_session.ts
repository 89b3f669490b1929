// SPDX-License-Identifier: Apache-2.0
/** Opens a model with a saved adapter on it, for the commands that run one. */
import { attachAdapter } from "../adapters/attach.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import type { LoadAdapterOptions } from "../adapters/files/adapter_files.ts";
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import { UserError } from "../core/errors.ts";
import { text, toggle } from "../core/options.ts";
import type { Hooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { TASK_OPTIONS } from "../tasks/registry.ts";
import type { Task, TaskModel } from "../tasks/task.ts";
import { baseOf, loadAdapter, openAdapter } from "../train/adapters.ts";
import { MODEL_OPTIONS } from "../train/setting_table.ts";
import { otherFormatNotice } from "../train/trained_format.ts";
import type { FlagValues } from "./flags/flags.ts";
import { formatOptions } from "./flags/format.ts";
import { taskOfFlags } from "./flags/task.ts";
import { warn } from "./output.ts";
import { DEMO, openModelOf } from "./session.ts";

/** A model with its adapter. */
export const ADAPTER_SESSION_OPTIONS = {
  ...MODEL_OPTIONS,
  ...TASK_OPTIONS,
  adapter: text({ path: true, help: "adapter folder of a run", defaultText: "none" }),
  force: toggle({
    help: "no warning when the adapter was trained on another base model or on text written otherwise",
  }),
} as const;

/** Warns, unless --force silences it. */
export function warningOnOtherBase(values: FlagValues): LoadAdapterOptions {
  if (values.force === true) return {};
  return { onOtherBase: (notice) => warn(`${notice} (--force says nothing)`) };
}

/** Warns when text is written otherwise than the adapter's run had it; --force silences it. */
async function warnOnOtherFormat(values: FlagValues): Promise<void> {
  if (values.force === true || values.adapter === undefined) return;
  const notice = await otherFormatNotice(values.adapter as string, formatOptions(values));
  if (notice !== null) warn(`${notice} (--force says nothing)`);
}

/**
 * The flags with the model that the adapter was trained on where they name none.
 *
 * @throws {UserError} When that is not found: what was looked at, and the way out
 */
export function withBase(values: FlagValues, saved: SavedAdapter | null): FlagValues {
  return saved === null || values.model !== undefined
    ? values
    : { ...values, model: baseOf(saved, [DEMO.model]) };
}

/** A model as it is to be run. */
export interface AdapterSession extends Disposable {
  readonly model: Model;
  readonly hooks: Hooks;
  /** What the hooks compute with; null without an adapter. */
  readonly adapter: AdapterParams | null;
  /** The model without the adapter. */
  readonly base: TaskModel;
  /** @throws {UserError} When the model's folder has none */
  readonly tokenizer: Tokenizer;
  readonly task: Task;
}

/** Opens the model and the adapter that the flags name. */
export async function openAdapterSession(values: FlagValues): Promise<AdapterSession> {
  await warnOnOtherFormat(values);
  using opening = new DisposableStack();
  const saved = values.adapter === undefined ? null : await openAdapter(values.adapter as string);
  const complete = withBase(values, saved);
  const { task, head } = await taskOfFlags(complete, saved);
  const base = opening.use(await openModelOf(complete, { head, adapter: saved }));
  if (saved === null && base.fresh.size > 0) {
    throw new UserError(`${base.dir} has no head for ${task.name}: train one, and give it with --adapter`);
  }
  const adapter = saved === null ? null : await loadAdapter(base, saved, warningOnOtherBase(values));
  const attached = attachAdapter(base, adapter);
  const owned = opening.move();
  return {
    ...{ ...attached, base, adapter, task },
    get tokenizer() {
      return base.tokenizer;
    },
    [Symbol.dispose]: () => owned.dispose(),
  };
}
