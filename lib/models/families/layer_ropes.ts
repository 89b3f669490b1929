// SPDX-License-Identifier: Apache-2.0
/** Rotary embeddings of families whose layers with a window turn otherwise than those without. */
import { type ConfigFields, configFields, isRecord } from "../config_fields.ts";

/** The fields as the layers without a window see them, and those with one: each its own of `rope_parameters`. */
export function ropesByLayerType(fields: ConfigFields): { full: ConfigFields; sliding: ConfigFields } {
  const record = fields.values["rope_parameters"];
  const own = isRecord(record) ? [record["full_attention"], record["sliding_attention"]] : [];
  if (!own.every(isRecord)) return { full: fields, sliding: configFields({}, fields) };
  const [full = record, sliding = null] = own;
  const values = { ...fields.values, rope_parameters: full };
  return { full: { ...fields, values }, sliding: configFields({ rope_parameters: sliding }, fields) };
}
