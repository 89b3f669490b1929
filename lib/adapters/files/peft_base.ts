// SPDX-License-Identifier: Apache-2.0
/** What every folder of PEFT's says of its model, whatever its adapter is. */
import type { JsonObject } from "../../core/json.ts";
import { baseFields, type BaseRecord, readBase, type SavedBase } from "./base_model.ts";
import type { SavedFacts } from "./file_format.ts";

/** Metadata of the tensor file. PEFT warns of fields that it does not know, so what it does not know is beside the tensors. */
export function peftMetadata(base: BaseRecord): Readonly<Record<string, string>> {
  return { format: "pt", ...baseFields(base) };
}

/** Fields of `adapter_config.json`. */
export function peftModelFields({ base, taskType }: SavedFacts): JsonObject {
  return {
    task_type: taskType,
    base_model_name_or_path: base.name,
    ...(base.revision !== null && { revision: base.revision }),
    inference_mode: true,
  };
}

/** The model that a folder names. PEFT leaves the name out when the model was made from a configuration. */
export function readPeftBase(fields: JsonObject, metadata: Readonly<Record<string, unknown>>): SavedBase {
  const name = fields["base_model_name_or_path"];
  return readBase(typeof name === "string" && name !== "" ? name : null, metadata);
}
