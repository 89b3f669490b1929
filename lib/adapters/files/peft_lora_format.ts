// SPDX-License-Identifier: Apache-2.0
/**
 * PEFT's folders of a LoRA. Written so that every PEFT since 0.7 loads them; read with every option that PEFT has, where
 * those that would change the result and are not known here are refused by name.
 */
import type { Json, JsonObject } from "../../core/json.ts";
import { type HeadConfig, numberedHead } from "../../models/heads/head_config.ts";
import { readBaseHead } from "./base_model.ts";
import type { AdapterFormat } from "./file_format.ts";
import { PEFT_NAMES } from "../lora/options.ts";
import { peftMetadata, peftModelFields, readPeftBase } from "./peft_base.ts";
import { isNothing, optionProblems } from "./peft_fields.ts";
import { TASK_TYPES } from "./task_types.ts";

/** The format of `lora`. */
export const PEFT_LORA_FORMAT: AdapterFormat = {
  peftType: "LORA",
  metadata: peftMetadata,
  config({ adapter: { config, fileNames, fileFields } }, saved) {
    const { modulesToSave, trainableTokenIndices, ensureWeightTying, bias = "none", ...others } = config;
    const options = Object.entries(PEFT_NAMES).filter(([name]) => others[name] !== undefined);
    return {
      peft_type: "LORA",
      ...peftModelFields(saved),
      ...(modulesToSave !== undefined && { modules_to_save: modulesToSave }),
      ...(trainableTokenIndices !== undefined && { trainable_token_indices: trainableTokenIndices }),
      ...(ensureWeightTying === true && { ensure_weight_tying: true }),
      ...Object.fromEntries(
        options.map(([name, theirs]) => [theirs, written(others[name] as Json, fileNames)]),
      ),
      bias,
      fan_in_fan_out: false,
      init_lora_weights: true,
      ...fileFields,
    };
  },
  // Rows that a tied head shares are the embedding's alone, unless PEFT saves all of that head.
  tensorNames: (name, copies, isGrown) => [
    name,
    ...copies.filter((copy) => isGrown || !copy.endsWith(".trainable_tokens_delta")),
  ],
  read(fields, { metadata, shapes }, problems) {
    const tensorNames = [...shapes.keys()];
    problems.push(...optionProblems(fields));
    const { options, targets } = readOptions(fields);
    if (targets === "all-linear") {
      for (const name of ["layers_to_transform", "layers_pattern"] as const) {
        if (isNothing(fields[name])) continue;
        problems.push(
          `"${name}" does not go with "target_modules": "all-linear", in PEFT neither: list the names`,
        );
      }
    }
    return {
      kind: "lora",
      options,
      head: readBaseHead(metadata) ?? savedHead(fields, shapes),
      source: { by: "peft", modules: tensorNames.flatMap((name) => FACTOR.exec(name)?.[1] ?? []) },
      base: readPeftBase(fields, metadata),
      tensorsHash: null,
      parameterName,
    };
  },
};

/** Words as PEFT's names of modules. */
function written(value: Json, names: ReadonlyMap<Json, string> = new Map()): Json {
  return Array.isArray(value) ? value.map((item: Json) => names.get(item) ?? item) : value;
}

/** What a folder means that leaves an option out. */
const PEFT_DEFAULTS: JsonObject = { rank: 8, alpha: 8 };

function readOptions(fields: JsonObject): { readonly options: JsonObject; readonly targets: Json } {
  const named = Object.entries(PEFT_NAMES).filter(([, theirs]) => fields[theirs] !== undefined);
  const given = (theirs: string, ours: string) =>
    isNothing(fields[theirs]) ? {} : { [ours]: fields[theirs] as Json };
  const targets = fields["target_modules"] ?? null;
  return {
    targets: typeof targets === "string" ? targets.toLowerCase() : targets,
    options: {
      ...PEFT_DEFAULTS,
      ...given("modules_to_save", "modulesToSave"),
      ...given("trainable_token_indices", "trainableTokenIndices"),
      ...given("ensure_weight_tying", "ensureWeightTying"),
      ...Object.fromEntries(named.map(([ours, theirs]) => [ours, fields[theirs] as Json])),
      targets,
    },
  };
}

/** The head that PEFT saved with the adapter of a classifier: how many labels it has is all that the file tells. */
function savedHead(fields: JsonObject, shapes: ReadonlyMap<string, readonly number[]>): HeadConfig | null {
  const saved = fields["modules_to_save"];
  if (fields["task_type"] !== TASK_TYPES.classification || !Array.isArray(saved)) return null;
  const matrices = [...shapes].filter(([name, shape]) =>
    shape.length === 2 &&
    saved.some((module) => name.endsWith(`.${module}.weight`) || name.includes(`.${module}.`))
  );
  const count = matrices.at(-1)?.[1][0];
  // It was saved whole: what head the checkpoint has says nothing.
  return count === undefined ? null : { ...numberedHead(count), fresh: true };
}

/** A factor of a delta, by any name that some PEFT or transformers reads: its module, and which one it is. */
const FACTOR = /^(?:base_model\.model\.)?(.+)\.(lora_[AB])(?:\.default)?\.weight$/;

/** State of VeLoRA's backward pass, which says nothing of the delta. */
const BACKWARD_STATE = /\.lora_velora_embed(?:\.default)?$/;

/** The parameter that a tensor holds: its own name when it is none, null when it says nothing. */
function parameterName(tensorName: string): string | null {
  if (BACKWARD_STATE.test(tensorName)) return null;
  const [, module, factor] = FACTOR.exec(tensorName) ?? [];
  return module === undefined ? tensorName : `base_model.model.${module}.${factor}.weight`;
}
