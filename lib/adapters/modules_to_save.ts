// SPDX-License-Identifier: Apache-2.0
/** Modules that are trained whole beside any adapter, chosen by name as PEFT's `modules_to_save` chooses them. */
import { quotedValue } from "../core/quoted.ts";
import { didYouMean } from "../core/suggestion.ts";
import { texts } from "../core/options.ts";
import { givesTokens } from "../models/heads/head_config.ts";
import type { Model, ModelConfig } from "../models/model.ts";
import { allTensors } from "../models/parts.ts";
import { modelModules } from "../models/modules.ts";
import { buildParts } from "../models/families/registry.ts";
import { embeddingName, headNames, moduleOf } from "../models/tensor_names.ts";
import type { Resolved } from "./adapter.ts";
import type { OptionSource } from "./option_source.ts";
import { type WholeTensors, withTensors } from "./whole_tensors.ts";

/** Options beside those of any adapter that leaves the model's weights frozen. */
export const MODULE_OPTIONS = {
  /** Ends of names of modules. Default: the head of a task that has one of its own. */
  modulesToSave: texts({
    names: ["norm", "embed_tokens", "lm_head", "score"],
    help:
      "modules of the model that are trained whole beside the adapter and saved with it, by the ends of their names",
    defaultText: "a task's own head",
  }),
} as const;

/** An adapter that also trains modules. @param names As given: they may come from a file */
export function withModules(
  { adapter, problems }: Resolved,
  names: unknown,
  model: ModelConfig,
  source: OptionSource = { by: "user" },
): Resolved {
  const label = source.by === "peft" ? '"modules_to_save"' : "modulesToSave";
  const given = typeof names === "string" ? [names] : names;
  if (!Array.isArray(given) || !given.every((name) => typeof name === "string" && name !== "")) {
    const expected = `the ends of names of modules, such as ["${moduleOf(headNames(model)[0] as string)}"]`;
    return { adapter, problems: [...problems, `${label} is ${quotedValue(names)}, expected ${expected}`] };
  }
  if (given.length === 0) return { adapter, problems };
  if (adapter.replacesAll) {
    return {
      adapter,
      problems: [...problems, `${label} says nothing here: all modules are trained already`],
    };
  }
  const modules = modelModules(model).map(({ name }) => name);
  const unknown = given.filter((name) => !modules.some((module) => module.endsWith(name)));
  const known = given.filter((name) => !unknown.includes(name));
  const tensors = tensorsOf(modules.filter((module) => known.some((name) => module.endsWith(name))), model);
  return {
    adapter: withTensors(adapter, tensors, known.length > 0 ? { modulesToSave: known } : {}),
    problems: [
      ...problems,
      ...(source.by === "user" ? unknown.map((name) => unknownProblem(label, name, modules)) : []),
      ...tiedProblems(label, tensors, model),
    ],
  };
}

function unknownProblem(label: string, name: string, modules: readonly string[]): string {
  const ends = [...new Set(modules.map((module) => module.slice(module.lastIndexOf(".") + 1)))];
  return `${label} has ${quotedValue(name)}, which is the end of no module's name (such as ${
    modules.at(-1)
  })` +
    didYouMean(name, ends);
}

/** Tensors by their names in PEFT's files. */
function tensorsOf(modules: readonly string[], model: ModelConfig): WholeTensors {
  const names = allTensors(buildParts(model, (name) => name));
  const own = names.filter((name) => modules.some((module) => name.startsWith(`${module}.`)));
  return new Map(own.map((name) => [name, `base_model.model.${name}`]));
}

/** PEFT would train one of the two alone, and leave the model with a head of its own. */
function tiedProblems(label: string, tensors: WholeTensors, model: ModelConfig): string[] {
  const embedding = embeddingName(model);
  if (embedding === null || !model.tieWordEmbeddings || !tensors.has(embedding)) return [];
  return [
    `${label} takes in ${
      moduleOf(embedding)
    }, which is the head too (tie_word_embeddings): it cannot be trained alone`,
  ];
}

/** Modules of a head that no adapter reaches, and that have to be trained: all of a task's own, else what the checkpoint lacks. */
export function headModules({ config, fresh }: Pick<Model, "config" | "fresh">): string[] {
  const tensors = givesTokens(config.head) ? [...fresh] : headNames(config);
  return [...new Set(tensors.map(moduleOf))];
}
