// SPDX-License-Identifier: Apache-2.0
/** Our own folders: every mode and size of any adapter, with hashes of its tensors and of the model it belongs to. */
import { isJsonObject } from "../../core/json.ts";
import { parameterCount } from "../../optim/parameters.ts";
import { baseFields, readBase, readBaseHead } from "./base_model.ts";
import { type AdapterFormat, shown, textField } from "./file_format.ts";

const VERSION = 1;

/** The format of adapters that PEFT does not know. */
export const MEFT_FORMAT: AdapterFormat = {
  peftType: "MEFT",
  metadata: () => ({ format: "meft" }),
  config: ({ adapter, parameters }, { base, tensorsHash }) => ({
    peft_type: "MEFT",
    format_version: VERSION,
    adapter: adapter.kind,
    sites: adapter.sites,
    settings: adapter.config,
    parameters: parameters.reduce((sum, parameter) => sum + parameterCount(parameter), 0),
    base_model_name_or_path: base.name,
    ...baseFields(base),
    adapter_model_sha256: tensorsHash,
  }),
  read(fields, _file, problems) {
    if (fields["format_version"] !== VERSION) {
      problems.push(
        `"format_version" is ${shown(fields["format_version"])}, this version reads ${VERSION}`,
      );
    }
    const settings = fields["settings"];
    if (!isJsonObject(settings)) problems.push(`"settings" is not an object`);
    return {
      kind: textField(fields, "adapter", problems),
      options: isJsonObject(settings) ? settings : {},
      head: readBaseHead(fields),
      base: {
        ...readBase(textField(fields, "base_model_name_or_path", problems), fields),
        hash: textField(fields, "base_model_hash", problems),
      },
      parameterName: (name) => name,
      tensorsHash: textField(fields, "adapter_model_sha256", problems),
    };
  },
};
