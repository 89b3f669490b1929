// SPDX-License-Identifier: Apache-2.0
/** Modules that are trained whole beside any adapter, chosen by name as PEFT's `modules_to_save` chooses them. */
import { compileRegex } from "../core/python_regex/regex.ts";
import { RegexError } from "../core/python_regex/nodes.ts";
import { quotedValue } from "../core/quoted.ts";
import { didYouMean } from "../core/suggestion.ts";
import { givesTokens } from "../models/heads/head_config.ts";
import type { Model, ModelConfig } from "../models/model.ts";
import { allTensors } from "../models/part_tensors.ts";
import { modelModules } from "../models/modules.ts";
import { buildParts } from "../models/families/registry.ts";
import { headNames, moduleOf } from "../models/tensor_names.ts";
import { vocabularyTables } from "../models/vocabulary.ts";
import type { ResolveContext } from "./definition.ts";
import { areFrozen, frozenTensors } from "./frozen_layers.ts";
import type { OptionSource } from "./option_source.ts";
import type { WholeTensors } from "./whole_tensors.ts";

/** Modules that were chosen. */
export interface ChosenModules {
  /** Names as they are recorded: those that choose something. */
  readonly names: readonly string[];
  readonly tensors: WholeTensors;
  /** Whether embedding and head stay one. */
  readonly tied: boolean;
  readonly problems: readonly string[];
}

/** No modules. */
const NONE: ChosenModules = { names: [], tensors: new Map(), tied: false, problems: [] };

/** What the option is called by who wrote it. */
export function modulesLabel({ by }: OptionSource): string {
  return by === "peft" ? '"modules_to_save"' : "modulesToSave";
}

/**
 * The modules of a model that names choose.
 *
 * @param given Ends of names; they may come from a file
 * @param tie Whether an embedding and the head that is tied to it are to stay one, where one of them is chosen
 * @param context Of frozen layers nothing is chosen: where names mean more than that, those of what is left are recorded
 */
export function chooseModules(
  given: unknown,
  tie: boolean,
  model: ModelConfig,
  { source = { by: "user" }, frozenLayers = 0 }: Pick<ResolveContext, "source" | "frozenLayers"> = {},
): ChosenModules {
  const label = modulesLabel(source);
  const names = typeof given === "string" ? [given] : given;
  if (!Array.isArray(names) || !names.every((name) => typeof name === "string" && name !== "")) {
    const expected = `the ends of names of modules, such as ["${moduleOf(headNames(model)[0] as string)}"]`;
    return { ...NONE, problems: [`${label} is ${quotedValue(given)}, expected ${expected}`] };
  }
  const frozen = areFrozen(model, frozenLayers);
  const modules = modelModules(model).filter(({ layer }) => layer === null || !frozen[layer])
    .map(({ name }) => name);
  const unknown = names.filter((name) => !modules.some((module) => module.endsWith(name)));
  const known = names.filter((name) => !unknown.includes(name));
  const tied = tie ? tiedNames(known, model) : null;
  const chosen = tied ?? known;
  const tensorsAbove = (lowest: number) =>
    tensorsOf(
      modelModules(model).map(({ name }) => name)
        .filter((module) => chosen.some((name) => module.endsWith(name))),
      tied !== null,
      model,
      frozenTensors(model, lowest),
    );
  const tensors = tensorsAbove(frozenLayers);
  const saysMore = frozenLayers > 0 && tensors.size < tensorsAbove(0).size;
  return {
    names: saysMore ? [...new Set([...tensors.keys()].map(moduleOf))] : chosen,
    tensors,
    tied: tied !== null,
    problems: source.by === "user"
      ? unknown.map((name) => unknownProblem(label, name, modules, frozenLayers))
      : [],
  };
}

function unknownProblem(
  label: string,
  name: string,
  modules: readonly string[],
  frozenLayers: number,
): string {
  const ends = [...new Set(modules.map((module) => module.slice(module.lastIndexOf(".") + 1)))];
  const where = frozenLayers > 0 ? ` above the ${frozenLayers} frozen layers` : "";
  return `${label} has ${quotedValue(name)}, which is the end of no module's name${where} (such as ${
    modules.at(-1)
  })` +
    didYouMean(name, ends);
}

/** Modules by which PEFT knows that a vocabulary's table is trained. */
const PEFT_TABLES: readonly string[] = ["embed_tokens", "lm_head"];

/**
 * The names where embedding and head stay one, as PEFT writes them: the embedding's whole name, and none that means the head.
 * Null where the head is not tied, or where PEFT does not see that one of the two is chosen.
 */
function tiedNames(names: readonly string[], model: ModelConfig): readonly string[] | null {
  const tables = vocabularyTables(model);
  if (!tables?.tied || tables.head === null) return null;
  if (!names.some((name) => PEFT_TABLES.includes(name.slice(name.lastIndexOf(".") + 1)))) return null;
  const [embedding, head] = [tables.embedding, tables.head].map(moduleOf) as [string, string];
  const all = names.includes(embedding) ? names : [...names, embedding];
  const ofHead = all.find((name) => meansModule(name, head));
  return all.filter((name) => name !== ofHead);
}

/** Whether PEFT takes a name of `modules_to_save` to mean a module, or one around it: then no adapter goes on that. */
export function meansModule(name: string, module: string): boolean {
  try {
    return compileRegex(String.raw`(^|.*\.)${name}($|\..*)`).matchStart(module) !== null;
  } catch (error) {
    if (error instanceof RegexError) return false;
    throw error;
  }
}

/**
 * Tensors by their names in PEFT's files.
 *
 * @param tied Whether those of the embedding are those of the head too     @param left Names of those that are not chosen
 */
function tensorsOf(
  modules: readonly string[],
  tied: boolean,
  model: ModelConfig,
  left: ReadonlySet<string>,
): WholeTensors {
  const tables = vocabularyTables(model);
  const names = allTensors(buildParts({ ...model, tieWordEmbeddings: false }, (name) => name));
  const own = names.filter((name) =>
    !left.has(name) && modules.some((module) => name.startsWith(`${module}.`))
  );
  const fileName = (name: string) => `base_model.model.${name}`;
  return new Map(own.map((name) => {
    const isBoth = tied && name === tables?.embedding;
    return [name, isBoth ? [fileName(name), fileName(tables?.head as string)] : [fileName(name)]];
  }));
}

/** Modules of a head that no adapter reaches, and that have to be trained: all of a task's own, else what the checkpoint lacks. */
export function headModules({ config, fresh }: Pick<Model, "config" | "fresh">): string[] {
  const tensors = givesTokens(config.head) ? [...fresh] : headNames(config);
  return [...new Set(tensors.map(moduleOf))];
}
