// SPDX-License-Identifier: Apache-2.0
/** Every setting of a run by its flat name: the options of all owners, in the order in which people are told of them. */
import type { AdapterDefinition } from "../adapters/definition.ts";
import { MODEL_PART_OPTIONS } from "../adapters/model_part_options.ts";
import { WIRING_OPTIONS } from "../adapters/wiring/options.ts";
import { ADAPTERS } from "../adapters/registry.ts";
import {
  choice,
  defaultText,
  kebabCase,
  type OptionSchema,
  type OptionSpec,
  type SettingsOf,
  text,
  texts,
  valueText,
} from "../core/options.ts";
import { DATA_OPTIONS } from "../data/data_options.ts";
import { DEFAULT_METHOD, METHOD_NAMES, methodByName } from "../methods/methods.ts";
import { ADAMW_OPTIONS, type AdamwOptions } from "../optim/adamw.ts";
import { SCHEDULE_OPTIONS } from "../optim/schedule.ts";
import { HEAD_OPTIONS, TASK_OPTIONS } from "../tasks/registry.ts";
import { MACHINE_OPTIONS } from "./open_model.ts";
import { VOCABULARY_OPTIONS } from "./open_vocabulary.ts";
import { PLACEMENT_OPTIONS } from "./placement.ts";
import {
  BATCH_OPTIONS,
  COMPUTE_OPTIONS,
  KEEPING_OPTIONS,
  LENGTH_OPTIONS,
  PACKING_OPTION,
} from "./run_options.ts";

/** Which model runs where. */
export const MODEL_OPTIONS = {
  model: text({
    path: true,
    mayChange: "asked",
    help: "Hugging Face checkpoint folder",
    defaultText: "the adapter's, or the demo's",
  }),
  ...MACHINE_OPTIONS,
} as const;

const EVALUATION_OPTIONS = {
  evalData: texts({ path: true, mayChange: "asked", help: "data whose loss and scores are watched" }),
} as const;

const METHOD_OPTIONS = {
  method: choice(METHOD_NAMES, {
    default: DEFAULT_METHOD,
    identity: "adapter.kind",
    help: "what is trained",
  }),
  adapter: text({
    path: true,
    help: "saved adapter to start from, ours or a LoRA of PEFT's; it brings its method and sizes",
    defaultText: "a new one",
  }),
} as const;

/** What reads a setting: the part of a run's options, and of its identity, that has it. Null for what no run is told. */
export type SettingOwner = "adapter" | "optimizer" | "optimizer.schedule" | "batch" | "run" | null;

/** One setting of a run; or a flag of one call, where it says so. */
export interface Setting extends OptionSpec {
  /** Flat, in camelCase. */
  readonly name: string;
  /** In kebab-case. */
  readonly flag: string;
  readonly owner: SettingOwner;
  /** Its name there. */
  readonly option: string;
  /** Methods that it makes sense for; null for all. */
  readonly methods: readonly string[] | null;
}

type Adapters = (typeof ADAPTERS)[number]["options"];
type EachAdapter<S> = S extends OptionSchema ? SettingsOf<S> : never;
type All<U> = (U extends unknown ? (each: U) => void : never) extends (all: infer I) => void ? I : never;

/** The values of all settings. */
export type SettingValues =
  & SettingsOf<typeof MODEL_OPTIONS & typeof VOCABULARY_OPTIONS & typeof TASK_OPTIONS & typeof HEAD_OPTIONS>
  & SettingsOf<typeof DATA_OPTIONS>
  & SettingsOf<typeof EVALUATION_OPTIONS & typeof PACKING_OPTION>
  & SettingsOf<typeof METHOD_OPTIONS>
  & All<EachAdapter<Adapters>>
  & SettingsOf<typeof WIRING_OPTIONS & typeof MODEL_PART_OPTIONS & typeof PLACEMENT_OPTIONS>
  & SettingsOf<typeof ADAMW_OPTIONS & typeof SCHEDULE_OPTIONS>
  & SettingsOf<typeof LENGTH_OPTIONS & typeof BATCH_OPTIONS & typeof COMPUTE_OPTIONS>
  & SettingsOf<typeof KEEPING_OPTIONS>;

/** Methods whose adapters are so. */
function methodsWith(is: (adapter: AdapterDefinition) => boolean): readonly string[] {
  const kinds = ADAPTERS.filter(is).map(({ kind }) => kind as string);
  return METHOD_NAMES.filter((name) => kinds.includes(methodByName(name).adapter.kind));
}

/** The settings of one owner's options; those that only code can choose are none. */
function settingsAt(owner: SettingOwner, schema: OptionSchema): Setting[] {
  return Object.entries(schema).flatMap(([option, spec]) => {
    const { setting: name = option } = spec;
    if (name === null) return [];
    const methods = spec.ofRows ? methodsWith(({ rows }) => rows) : null;
    return [{ ...spec, name, flag: spec.flag ?? kebabCase(name), owner, option, methods }];
  });
}

/** `4096; parallel 1024`: the default, and those of methods that have another. */
function defaultsText(common: string | null, others: readonly (readonly [string, string | null])[]): string {
  const differing = others.filter(([, text]) => text !== common).map(([name, text]) => `${name} ${text}`);
  return [common, ...differing].join("; ");
}

/** Options of adapters; what several have by one name is one setting, told as the first of them tells it. */
function adapterSettings(adapters: readonly AdapterDefinition[]): Setting[] {
  const sharing = (setting: Setting) =>
    ADAPTERS.flatMap((adapter: AdapterDefinition) => {
      const same = settingsAt("adapter", adapter.options).find(({ name }) => name === setting.name);
      return same ? [[adapter.kind, defaultText(same)] as const] : [];
    });
  return adapters.flatMap(({ options }) => settingsAt("adapter", options)).map((setting) => {
    const defaults = sharing(setting);
    const own = defaultText(setting);
    return {
      ...setting,
      methods: methodsWith((adapter) => defaults.some(([kind]) => kind === adapter.kind)),
      ...(own === null ? {} : { defaultText: defaultsText(own, defaults) }),
    };
  });
}

/** Options of the optimizer, for which methods have defaults of their own. */
function optimizerSettings(): Setting[] {
  const [lr, ...others] = settingsAt("optimizer", ADAMW_OPTIONS).map((setting) => {
    const named = METHOD_NAMES.flatMap((name) => {
      const value = (methodByName(name).optimizer as AdamwOptions & Record<string, unknown>)[setting.option];
      return value === undefined ? [] : [[name, valueText(value as number)] as const];
    });
    if (named.length === 0) return setting;
    const withHead = setting.option === "lr" ? "; more with labels" : ""; // see `peakRate`
    return { ...setting, defaultText: `${defaultsText(defaultText(setting), named)}${withHead}` };
  });
  // The schedule is the rate's, and stands beside it.
  return [lr as Setting, ...settingsAt("optimizer.schedule", SCHEDULE_OPTIONS), ...others];
}

/**
 * A name once, as it was first.
 *
 * @throws {RangeError} When two options that are not one take the same name
 */
export function once(settings: readonly Setting[]): Setting[] {
  const first = new Map<string, Setting>();
  for (const setting of settings) {
    const { name, owner, option, kind } = setting;
    const before = first.get(name);
    if (before === undefined) first.set(name, setting);
    else if (before.owner !== owner || before.option !== option || before.kind !== kind) {
      throw new RangeError(
        `Setting "${name}" is declared as ${before.kind} ${before.option} of ${before.owner} and as ${kind} ${option} ` +
          `of ${owner}: give one of the two another name by \`setting\``,
      );
    }
  }
  return [...first.values()];
}

const ADAPTERS_WITH_ROWS = ADAPTERS.filter((adapter: AdapterDefinition) => adapter.rows);

/** All settings. */
export const SETTINGS: readonly Setting[] = once([
  ...settingsAt(null, MODEL_OPTIONS),
  ...settingsAt(null, VOCABULARY_OPTIONS),
  ...settingsAt(null, TASK_OPTIONS),
  ...settingsAt(null, HEAD_OPTIONS),
  ...settingsAt(null, DATA_OPTIONS),
  ...settingsAt(null, EVALUATION_OPTIONS),
  ...settingsAt("batch", PACKING_OPTION),
  ...settingsAt(null, METHOD_OPTIONS),
  ...adapterSettings(ADAPTERS_WITH_ROWS),
  ...settingsAt("run", PLACEMENT_OPTIONS),
  ...adapterSettings(ADAPTERS),
  ...settingsAt("adapter", WIRING_OPTIONS),
  ...settingsAt("adapter", MODEL_PART_OPTIONS),
  ...optimizerSettings(),
  ...settingsAt("run", LENGTH_OPTIONS),
  ...settingsAt("batch", BATCH_OPTIONS),
  ...settingsAt("run", COMPUTE_OPTIONS),
  ...settingsAt("run", KEEPING_OPTIONS),
]);

/** Names of all settings. */
export const SETTING_NAMES: readonly string[] = SETTINGS.filter(({ ofCall }) => !ofCall).map(({ name }) =>
  name
);

/** Methods that a setting makes sense for; null for all. */
export function methodsOf(setting: string): readonly string[] | null {
  return SETTINGS.find(({ name }) => name === setting)?.methods ?? null;
}

/** The flag of an option of an owner: `topK` of an adapter is `top-k`. Options without a flag are written in the same way. */
export function flagOfOption(owner: SettingOwner, option: string): string {
  return SETTINGS.find((setting) => setting.owner === owner && setting.option === option)?.flag ??
    kebabCase(option);
}

/** Where the identity of a run has a setting, as a dotted path; null where it says nothing of it. */
export function identityPath({ identity, owner, option }: Setting): string | null {
  return identity ?? (owner === null ? null : owner === "run" ? option : `${owner}.${option}`);
}

/** The options of one owner that settings choose, as the owner has them. */
export function optionsAt(owner: SettingOwner, settings: object): Readonly<Record<string, unknown>> {
  const given = settings as Readonly<Record<string, unknown>>;
  const own = SETTINGS.filter((setting) => setting.owner === owner && !setting.ofCall);
  return Object.fromEntries(
    own.filter(({ name }) => given[name] !== undefined).map((setting) => [
      setting.option,
      asOption(setting, given[setting.name]),
    ]),
  );
}

/** A value as the owner of the option has it. */
function asOption({ kind, choices, names, nullAs }: Setting, value: unknown): unknown {
  if (nullAs !== undefined && value === nullAs) return null;
  if (kind === "text" && choices && /^\d+$/.test(value as string)) return Number(value);
  return kind === "texts" && names ? patternAlone(value) : value;
}

/** A list of one text that is no name, as command lines give it, is that regular expression. */
function patternAlone(value: unknown): unknown {
  const [only] = Array.isArray(value) && value.length === 1 ? value : [];
  return typeof only === "string" && !/^[\w.-]+$/.test(only) ? only : value;
}

/** An option's value as settings say it: what {@linkcode optionsAt} makes an option of. */
export function asSetting({ nullAs }: Setting, value: unknown): unknown {
  return value === null && nullAs !== undefined ? nullAs : value;
}
