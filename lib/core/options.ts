// SPDX-License-Identifier: Apache-2.0
/**
 * Options as data: what one is called, what values it takes, what stands where it is left out, what it is for. Each is declared
 * once, beside the code that reads it. Types, checks, flags, keys of config files, axes of grids, help, completion, records
 * of runs and the README's table are read off that.
 */
import type { JsonObject } from "./json.ts";

/**
 * What an option's value is; `values` are texts, or whatever JSON a config file has, as its text; `integers` may be ranges, `0-3`;
 * `pairs` are names with values, `KEY=VALUE` on a command line and an object in a config file; `numbers` are numbers by key in
 * the same way; `indices` are whole numbers and ranges, or those by name, `KEY=5,8-10`.
 */
export type OptionKind =
  | "text"
  | "texts"
  | "integer"
  | "integers"
  | "indices"
  | "number"
  | "numbers"
  | "switch"
  | "values"
  | "pairs";

/** One option. Its name is its key in its {@linkcode OptionSchema}. */
export interface OptionSpec {
  readonly kind: OptionKind;
  /** For people: what it is, in half a sentence. */
  readonly help: string;
  /** What stands where it is left out. Absent where that is no constant, or where leaving it out means something of its own. */
  readonly default?: string | number | boolean;
  /** The default in words, where it is no constant or is better said otherwise. */
  readonly defaultText?: string;
  /** The texts it may be. Those that are whole numbers stand for them, and may be given as numbers too. */
  readonly choices?: readonly string[];
  /** Texts that are names, of which these are the usual ones; several may be joined by commas. Or one regular expression. */
  readonly names?: readonly string[];
  /** What the help shows in place of the value. Default: the choices, or the kind. */
  readonly placeholder?: string;
  readonly min?: number;
  readonly max?: number;
  /** Whether `min` itself is refused: by all, or by command lines alone, where it can only be a mistake. */
  readonly above?: boolean | "typed";
  /** Whether `max` itself is refused. */
  readonly below?: boolean;
  /** Whether kernels compute with it in f32: then that is what its bounds are of. */
  readonly f32?: boolean;
  /** Whether null is a value to its owner; a text says in messages what null means. */
  readonly nullable?: boolean | string;
  /** The number by which settings and flags say null. */
  readonly nullAs?: number;
  /** Name as a setting of a run, where it is not the option's own; null where only code can choose it. */
  readonly setting?: string | null;
  /** Name as a flag, where it is not the setting's in kebab-case. */
  readonly flag?: string;
  /** The flag that this one stands in for: one source gives one of the two, and the higher source's counts. */
  readonly insteadOf?: string;
  /** Whether the value is a path; the texts listed are words, and no paths. */
  readonly path?: boolean | readonly string[];
  /** Only of use to adapters with parameters that are updated by rows. */
  readonly ofRows?: boolean;
  /** Whether records name it at its default too. What later versions added is recorded where it was chosen. */
  readonly always?: boolean;
  /** Whether it is of one call: no setting of a run, neither recorded with it nor taken from it. */
  readonly ofCall?: boolean;
  /** Whether it says how a run is kept, not what it is: then cells of a study have no such option. */
  readonly ofKeeping?: boolean;
  /** Whether it may be another one when a run goes on: as decided, or, where no decision names it, as `asked`. */
  readonly mayChange?: boolean | "asked";
  /** Where the identity of a run has it, where that is not its place and name. */
  readonly identity?: string;
  /** Whether it makes what is trained larger or smaller, or goes with such an option. */
  readonly size?: boolean;
  /** What stands at an axis of a chart. Default: the setting's name. */
  readonly axis?: string;
}

/** The options of one owner, by name, in the order in which they are told. */
export type OptionSchema = Readonly<Record<string, OptionSpec>>;

/** All that is said of an option but its kind, and what its owner wants to say besides. */
type Said = Omit<OptionSpec, "kind" | "choices">;

/** A whole number. */
export function integer<const S extends Said>(said: S): S & { readonly kind: "integer" } {
  return { kind: "integer", ...said };
}

/** A finite number. */
export function number<const S extends Said>(said: S): S & { readonly kind: "number" } {
  return { kind: "number", ...said };
}

/** On or off. Where words alone say what stands when it is left out, it is on for some, and can be told which. */
export function toggle<const S extends Said>(said: S): S & { readonly kind: "switch" } {
  const isOnForSome = said.default === undefined && said.defaultText !== undefined;
  return { kind: "switch", ...(isOnForSome && { choices: ["true", "false"] }), ...said };
}

/** Any text. */
export function text<const S extends Said>(said: S): S & { readonly kind: "text" } {
  return { kind: "text", ...said };
}

/** One of some texts. */
export function choice<const C extends readonly string[], const S extends Said>(
  choices: C,
  said: S,
): S & { readonly kind: "text"; readonly choices: C } {
  return { kind: "text", choices, ...said };
}

/** Several of some texts. */
export function choices<const C extends readonly string[], const S extends Said>(
  choices: C,
  said: S,
): S & { readonly kind: "texts"; readonly choices: C } {
  return { kind: "texts", choices, ...said };
}

/** Several texts. */
export function texts<const S extends Said>(said: S): S & { readonly kind: "texts" } {
  return { kind: "texts", ...said };
}

/** Several whole numbers, and ranges of them. */
export function integers<const S extends Said>(said: S): S & { readonly kind: "integers" } {
  return { kind: "integers", ...said };
}

/** Several whole numbers, and ranges of them, or those by name. */
export function indices<const S extends Said>(said: S): S & { readonly kind: "indices" } {
  return { kind: "indices", ...said };
}

/** Numbers by name. */
export function numbers<const S extends Said>(said: S): S & { readonly kind: "numbers" } {
  return { kind: "numbers", ...said };
}

/** JSON values by name. */
export function pairs<const S extends Said>(said: S): S & { readonly kind: "pairs" } {
  return { kind: "pairs", ...said };
}

/** Texts that are read later, or JSON as its text. */
export function values<const S extends Said>(said: S): S & { readonly kind: "values" } {
  return { kind: "values", ...said };
}

/** Whole numbers among texts, as numbers. */
type Digits<C> = C extends `${infer N extends number}` ? N : never;

type TextOf<S> = S extends { readonly choices: readonly (infer C)[] } ? C : string;

interface ValueOfKind<S> {
  readonly text: TextOf<S>;
  readonly texts: TextOf<S> | readonly TextOf<S>[];
  readonly integer: number;
  readonly integers: number | readonly number[];
  readonly indices: number | readonly number[] | Readonly<Record<string, number | readonly number[]>>;
  readonly number: number;
  readonly numbers: Readonly<Record<string, number>>;
  readonly switch: boolean;
  readonly values: string | readonly string[];
  readonly pairs: JsonObject;
}

/** The value of an option as its owner has it: digits are numbers, null is null. */
export type OptionValue<S extends { readonly kind: OptionKind }> =
  | (ValueOfKind<S>[S["kind"]] extends infer V ? (V extends `${number}` ? Digits<V> : V) : never)
  | (S extends { readonly nullable: true | string } ? null : never);

/** The value of an option as a setting or flag has it. */
export type SettingValue<S extends { readonly kind: OptionKind }> =
  | ValueOfKind<S>[S["kind"]]
  | Digits<ValueOfKind<S>[S["kind"]]>;

/** Choices of a schema: all of them may be left out. */
export type OptionsOf<S extends OptionSchema> = { readonly [K in keyof S]?: OptionValue<S[K]> };

/** The choices of a schema, all decided. */
export type DecidedOptions<S extends OptionSchema> = { readonly [K in keyof S]: OptionValue<S[K]> };

type SettingName<K, S> = S extends { readonly ofCall: true } ? never
  : S extends { readonly setting: infer N } ? (N extends string ? N : never)
  : K;

/** The settings of a schema, by their flat names. */
export type SettingsOf<S extends OptionSchema> = {
  readonly [K in keyof S as SettingName<K, S[K]>]?: SettingValue<S[K]>;
};

/** Defaults that are constants, by the option's name. */
export type DefaultsOf<S extends OptionSchema> = {
  readonly [K in keyof S as S[K] extends { readonly default: unknown } ? K : never]: OptionValue<S[K]>;
};

/** `topK` as `top-k`. */
export function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `top-k` as `topK`. */
export function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** The default as people read it; null where nothing stands in its place, or where it says nothing. */
export function defaultText({ default: value, defaultText }: OptionSpec): string | null {
  if (defaultText !== undefined) return defaultText;
  return value === undefined || value === false ? null : valueText(value);
}

/** `0.0001` as `1e-4`. */
export function valueText(value: string | number | boolean): string {
  return typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3
    ? value.toExponential()
    : String(value);
}
