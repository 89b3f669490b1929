// SPDX-License-Identifier: Apache-2.0
/** How the folder of an adapter describes itself: `peft_type` in `adapter_config.json` says which format it is. */
import type { Json, JsonObject } from "../core/json.ts";
import type { AdapterParams } from "./adapter.ts";

/** The model an adapter belongs to. */
export interface BaseIdentity {
  /** Folder or name, for people. */
  readonly name: string;
  /** Tells whether it is the same model. */
  readonly hash: string;
}

/** What a folder says of its adapter. A hash is null where the folder does not tell it. */
export interface AdapterDescription {
  readonly kind: string;
  /** Options of the kind; not checked yet. */
  readonly options: JsonObject;
  readonly baseName: string;
  readonly baseHash: string | null;
  readonly tensorsHash: string | null;
}

/** A format of adapter folders. */
export interface AdapterFormat {
  readonly peftType: string;
  /** Metadata of the tensor file. */
  metadata(base: BaseIdentity): Readonly<Record<string, string>>;
  /** The fields of `adapter_config.json`. */
  config(params: AdapterParams, base: BaseIdentity, tensorsHash: string): JsonObject;
  /**
   * @param metadata Of the tensor file     @mutates problems: one sentence for everything that is wrong
   */
  read(
    fields: JsonObject,
    metadata: Readonly<Record<string, string>>,
    problems: string[],
  ): AdapterDescription;
}

/** A value in an error message. */
export function shown(value: Json | undefined): string {
  return value === undefined ? "missing" : JSON.stringify(value);
}

/** A field that must be a string. @mutates problems */
export function textField(fields: JsonObject, name: string, problems: string[]): string {
  const field = fields[name];
  if (typeof field === "string") return field;
  problems.push(`"${name}" is ${shown(field)}, expected a string`);
  return "";
}
