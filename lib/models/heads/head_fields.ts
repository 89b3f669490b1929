// SPDX-License-Identifier: Apache-2.0
/** What `config.json` says of a head: written with its weights, so that whoever reads the checkpoint finds it. */
import type { JsonObject } from "../../core/json.ts";
import { familyOf } from "../families/registry.ts";
import type { ModelConfig } from "../model.ts";
import { PROBLEM_TYPES } from "./head_config.ts";

/** The fields of a model's head; none of one that gives tokens, whose labels are no names. */
export function headFields(config: ModelConfig): JsonObject {
  const { head } = config;
  if (head.kind !== "classification") return {};
  const architectures = Object.entries(familyOf(config).heads).filter(([, kind]) => kind === head.kind);
  return {
    architectures: architectures.slice(0, 1).map(([name]) => name),
    id2label: Object.fromEntries(head.labels.map((label, i) => [String(i), label])),
    label2id: Object.fromEntries(head.labels.map((label, i) => [label, i])),
    problem_type: PROBLEM_TYPES[head.gives],
  };
}
