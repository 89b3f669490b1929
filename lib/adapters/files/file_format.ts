// SPDX-License-Identifier: Apache-2.0
/** How the folder of an adapter describes itself: `peft_type` in `adapter_config.json` says which format it is. */
import { quotedValue } from "../../core/quoted.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import type { HeadConfig } from "../../models/heads/head_config.ts";
import type { AdapterParams } from "../adapter.ts";
import type { BaseRecord, SavedBase } from "./base_model.ts";
import type { OptionSource } from "../option_source.ts";

/** What a folder says of its adapter. */
export interface AdapterDescription {
  readonly kind: string;
  /** Options of the kind; not checked yet. */
  readonly options: JsonObject;
  readonly source?: OptionSource;
  readonly base: SavedBase;
  /** Of the model, where it is no language model's. */
  readonly head: HeadConfig | null;
  /** Null where the folder does not tell it. */
  readonly tensorsHash: string | null;
  /** Name of the parameter that a tensor of the file holds; null for a tensor that says nothing. */
  readonly parameterName: (tensorName: string) => string | null;
}

/** What the tensor file says beside its tensors' values. */
export interface TensorFileNames {
  readonly metadata: Readonly<Record<string, string>>;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

/** What an adapter's own file says beside the adapter. */
export interface SavedFacts {
  readonly base: BaseRecord;
  /** Of the tensor file. */
  readonly tensorsHash: string;
  /** What PEFT calls the model's task; null where it has no word for it. */
  readonly taskType: string | null;
}

/** A format of adapter folders. */
export interface AdapterFormat {
  readonly peftType: string;
  /** Whether it can say all of an adapter; what it cannot is saved in our own. Absent where it always can. */
  holds?(params: AdapterParams): boolean;
  /**
   * Names under which the file holds a parameter: its own alone when absent.
   *
   * @param copies Further names, where a tied head has what its embedding has
   * @param isGrown Whether the vocabulary is another than the checkpoint's, and its tables are in the file
   */
  tensorNames?(name: string, copies: readonly string[], isGrown: boolean): readonly string[];
  /** Metadata of the tensor file. */
  metadata(base: BaseRecord): Readonly<Record<string, string>>;
  /** The fields of `adapter_config.json`. */
  config(params: AdapterParams, saved: SavedFacts): JsonObject;
  /** @mutates problems: one sentence for everything that is wrong */
  read(fields: JsonObject, file: TensorFileNames, problems: string[]): AdapterDescription;
}

/** A value in an error message. */
export function shown(value: Json | undefined): string {
  return value === undefined ? "missing" : quotedValue(value);
}

/** A field that must be a string. @mutates problems */
export function textField(fields: JsonObject, name: string, problems: string[]): string {
  const field = fields[name];
  if (typeof field === "string") return field;
  problems.push(`"${name}" is ${shown(field)}, expected a string`);
  return "";
}
