// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the tensors that a configuration asks for among those of a checkpoint, as transformers does: under their names with or
 * without the `model.` before them, and with a head that is tied to the embedding only where nothing else is stored as it.
 */
import { basename } from "node:path";
import { quotedNames } from "../core/quoted.ts";
import { formatShape } from "../core/shape.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { weightDTypeProblem } from "../storage/weights.ts";
import type { CheckpointIndex } from "../tensor/checkpoint_index.ts";
import { sameValues } from "../tensor/same_values.ts";
import type { SafetensorsFile, TensorEntry } from "../tensor/safetensors.ts";
import type { Notes } from "./config_fields.ts";
import { familyOf } from "./families/registry.ts";
import { givesTokens, type HeadConfig } from "./heads/head_config.ts";
import type { ModelConfig } from "./model.ts";
import { allTensors, constantTensors, outputsOf } from "./part_tensors.ts";
import type { TensorShape } from "./parts.ts";
import { type SharedNames, sharedNames, withoutCopies } from "./shared_tensors.ts";
import {
  basePrefix,
  embeddingName,
  headShapes,
  moduleOf,
  namedParts,
  ownName,
  storedName,
  storedShape,
} from "./tensor_names.ts";

/** A configuration and a checkpoint that fit each other. */
export interface MatchedCheckpoint {
  /** Tied only if the checkpoint is. */
  readonly config: ModelConfig;
  /** Its files, tensors under the names that the family builds with; `tensors` are those of the model alone. */
  readonly checkpoint: CheckpointIndex;
  /** Names of the head's tensors that it lacks: they must be trained. */
  readonly fresh: ReadonlySet<string>;
}

/** What is asked for, by name. */
interface Wanted {
  readonly config: ModelConfig;
  /** Of all weights, and of the head, which may be stored though it is tied. */
  readonly shapes: ReadonlyMap<string, TensorShape>;
  readonly shared: SharedNames;
  /** Null where the model is given no tokens. */
  readonly embedding: string | null;
  /** Of a head that may be tied to the embedding; null of another. */
  readonly head: string | null;
  /** Of a head that may be lacking: all its tensors. */
  readonly optional: ReadonlySet<string>;
  /** What a saved base model's names lack, and those of a model inside another have twice. */
  readonly prefix: string;
  readonly unread: RegExp | null;
  /** First parts of all names, with and without the prefix. */
  readonly roots: ReadonlySet<string>;
}

/** Tensors that may be there and say nothing: tables and masks that older checkpoints stored. */
export const IGNORABLE_TENSORS =
  /(^|\.)(rotary_emb\.(inv_freq|original_inv_freq|cos_cached|sin_cached)|masked_bias|h\.\d+\.attn\.bias|position_ids)$/;

/** Parts of larger models that were saved inside a language model, after its prefix. */
const OTHER_PARTS = /^(mm_|vision|visual|image_|audio|video|speech|projector|connector|multi_modal)/;

/** Problems of one kind that are spelled out; the rest is counted. */
const MOST_OF_A_KIND = 10;

/**
 * Compares the tensors there are with those the configuration asks for. The result counts only when there are no problems.
 *
 * @mutates notes
 */
export function matchCheckpoint(
  asRead: ModelConfig,
  found: CheckpointIndex,
  kernels: Pick<Kernels, "backend">,
  notes: Notes,
): MatchedCheckpoint {
  const config = asStored(asRead, found);
  const wanted = wantedTensors(config);
  const before = notes.problems.length;
  const stored = withoutCopies(found, wanted.shared, (name) => wholeName(name, wanted), notes);
  // Tied to what is there, be it the head alone.
  const { head, embedding } = wanted;
  const isHeadAlone = config.tieWordEmbeddings && head !== null && embedding !== null &&
    hasOwn(stored, head, wanted) && !hasOwn(stored, embedding, wanted);
  const nameOf = (name: string): string => {
    const own = modelName(name, wanted);
    return isHeadAlone && own === head ? embedding : own;
  };
  const tensors = tensorsByOwnName(stored, nameOf, notes.problems);
  const renewed = new Set(renewedTensors(config));
  for (const name of renewed) tensors.delete(name);
  const fresh = freshTensors(wanted, tensors, notes);
  checkWeights(config, wanted, tensors, fresh, kernels, notes.problems);
  reportSurplus(tensors, wanted, notes);
  const files = stored.files.map((file) => withNames(file, nameOf, renewed));
  for (const [name, entry] of tensors) {
    const shape = wanted.shapes.get(name);
    if (shape === undefined) tensors.delete(name);
    else tensors.set(name, { ...entry, shape: storedShape({ ...shape, stored: undefined }) });
  }
  // Only of tensors that fit are values compared.
  const tied = notes.problems.length > before ? config : withHead(config, wanted, tensors, notes);
  if (tied.tieWordEmbeddings && wanted.head !== null) tensors.delete(wanted.head);
  return { config: tied, checkpoint: { files, tensors }, fresh };
}

/** The configuration of a checkpoint that may lack tensors without which its family computes the same. */
function asStored(config: ModelConfig, { tensors }: CheckpointIndex): ModelConfig {
  return familyOf(config).stored?.(config, (name) => tensors.has(storedName(config, name))) ?? config;
}

function wantedTensors(config: ModelConfig): Wanted {
  const parts = namedParts(config);
  const ofHead = headShapes(config);
  const prefix = basePrefix(config);
  const { unread = null } = familyOf(config);
  const shapes = [...allTensors(parts), ...constantTensors(parts), ...givesTokens(config.head) ? ofHead : []]
    .map((tensor) => [tensor.name, tensor] as const);
  const headTensors = ofHead.map(({ name }) => name);
  const head = givesTokens(config.head) ? headTensors[0] as string : null;
  const names = [...shapes.map(([name]) => name), ...headTensors];
  const byName = new Map(shapes);
  const within = names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  return {
    shapes: byName,
    shared: sharedNames(config, (name) => byName.has(name)),
    embedding: embeddingName(config),
    head,
    optional: new Set(config.head.kind === "lm" ? [] : headTensors.filter((name) => name !== head)),
    prefix,
    config,
    unread,
    roots: new Set([...names, ...within].map(rootOf)),
  };
}

/**
 * A tensor's name in the whole model: a saved base model lacks `model.`, a model inside another has it twice; layer norms had
 * other names in checkpoints that began in TensorFlow.
 */
function wholeName(stored: string, { config, shapes, shared, prefix }: Wanted): string {
  const isKnown = (name: string): boolean => shapes.has(name) || shared.has(name);
  const name = ownName(config, stored)
    .replace(/LayerNorm\.(gamma|beta)$/, (_, part) => `LayerNorm.${NORM_PARTS[part]}`);
  if (name.startsWith(prefix) && isKnown(name.slice(prefix.length))) return name.slice(prefix.length);
  return isKnown(`${prefix}${name}`) ? `${prefix}${name}` : name;
}

/** The same, by the name that the family builds with. */
function modelName(stored: string, wanted: Wanted): string {
  const whole = wholeName(stored, wanted);
  return wanted.shared.get(whole)?.own ?? whole;
}

const NORM_PARTS: Readonly<Record<string, string>> = { gamma: "weight", beta: "bias" };

function hasOwn({ tensors }: CheckpointIndex, own: string, wanted: Wanted): boolean {
  return [...tensors.keys()].some((name) => modelName(name, wanted) === own);
}

/** Whether a tensor's name is one of the model's own, known or not: of its layers, its embedding, final norm or head. */
function isOfModel(name: string, { roots, prefix, unread }: Wanted): boolean {
  if (!roots.has(rootOf(name))) return false;
  const within = name.startsWith(prefix) ? name.slice(prefix.length) : name;
  return !(unread?.test(within) || (within !== name && OTHER_PARTS.test(within)));
}

/** The first part of a name. */
function rootOf(name: string): string {
  return name.split(".", 1)[0] as string;
}

/** A file by own names, without a head that is not to be the model's. */
function withNames(
  file: SafetensorsFile,
  nameOf: (name: string) => string,
  renewed: ReadonlySet<string>,
): SafetensorsFile {
  const entries = [...file.tensors.values()].map((entry) => ({ ...entry, name: nameOf(entry.name) }))
    .filter(({ name }) => !renewed.has(name));
  return { ...file, tensors: new Map(entries.map((entry) => [entry.name, entry])) };
}

/** @mutates problems: two tensors that stand for one */
function tensorsByOwnName(
  { tensors }: CheckpointIndex,
  nameOf: (name: string) => string,
  problems: string[],
): Map<string, TensorEntry> {
  const found = new Map<string, TensorEntry>();
  const storedNames = new Map<string, string>();
  for (const entry of tensors.values()) {
    const name = nameOf(entry.name);
    const earlier = storedNames.get(name);
    if (earlier !== undefined) {
      problems.push(`Tensors "${earlier}" and "${entry.name}" both stand for "${name}": keep one`);
    }
    storedNames.set(name, entry.name);
    found.set(name, { ...entry, name });
  }
  return found;
}

/** Of a head that is not to be the checkpoint's: what gives its outputs. The layers before stay, as transformers keeps them. */
function renewedTensors(config: ModelConfig): string[] {
  if (!isAskedFresh(config.head)) return [];
  const { head } = namedParts(config);
  if (head.kind !== "classification") return [];
  return outputsOf(head).flatMap(({ weight, bias }) => [weight.name, bias?.name ?? []].flat());
}

function isAskedFresh(head: HeadConfig): boolean {
  return head.kind === "classification" && head.fresh === true;
}

/** Modules of the head that start anew when the checkpoint is of a model without: of one that is half there nothing is. @mutates notes */
function freshTensors(
  { optional, config: { head } }: Wanted,
  tensors: ReadonlyMap<string, TensorEntry>,
  { warnings }: Notes,
): ReadonlySet<string> {
  const stored = new Set([...optional].filter((name) => tensors.has(name)).map(moduleOf));
  const fresh = [...optional].filter((name) => !stored.has(moduleOf(name)));
  if (fresh.length > 0 && !isAskedFresh(head)) {
    warnings.push(
      `The checkpoint has no such head: ${
        quotedNames(fresh)
      } comes with an adapter, or starts fresh and has to be trained`,
    );
  }
  return new Set(fresh);
}

/** @mutates problems */
function checkWeights(
  config: ModelConfig,
  { shapes, head }: Wanted,
  tensors: ReadonlyMap<string, TensorEntry>,
  fresh: ReadonlySet<string>,
  kernels: Pick<Kernels, "backend">,
  problems: string[],
): void {
  const missing: string[] = [];
  const misshapen: string[] = [];
  const unreadable: string[] = [];
  for (const [name, shape] of shapes) {
    const entry = tensors.get(name);
    if (entry === undefined) {
      if ((name === head && config.tieWordEmbeddings) || fresh.has(name)) continue;
      missing.push(
        `Tensor "${name}" ${formatShape(storedShape(shape))} is missing${name === head ? NO_HEAD : ""}`,
      );
      continue;
    }
    if (formatShape(entry.shape) !== formatShape(storedShape(shape))) {
      misshapen.push(
        `Tensor "${name}" in ${basename(entry.path)} has shape ${formatShape(entry.shape)}, ` +
          `expected ${formatShape(storedShape(shape))}`,
      );
    }
    const problem = weightDTypeProblem(kernels, entry);
    if (problem !== null) unreadable.push(problem);
  }
  for (const kind of [missing, misshapen, unreadable]) addKind(kind, problems);
}

const NO_HEAD = ": the checkpoint is of a model without a head, or tie_word_embeddings should be true";

/** @mutates problems */
function addKind(kind: readonly string[], problems: string[]): void {
  problems.push(...kind.slice(0, MOST_OF_A_KIND));
  const more = kind.length - MOST_OF_A_KIND;
  if (more > 0) problems.push(`${more} more tensors like the last of these`);
}

/**
 * Tensors without a place in the model. Under names inside it they say that the configuration is of another model; beside it
 * they belong to something else (a value head, a vision tower), and are passed over as transformers does. @mutates notes
 */
function reportSurplus(tensors: ReadonlyMap<string, TensorEntry>, wanted: Wanted, notes: Notes): void {
  const unknown: string[] = [];
  const passed: string[] = [];
  for (const { name, path, bytes } of tensors.values()) {
    if (wanted.shapes.has(name) || IGNORABLE_TENSORS.test(name)) continue;
    if (bytes === 0 || !isOfModel(name, wanted)) passed.push(name);
    else {
      unknown.push(
        `Tensor "${name}" in ${basename(path)} is unknown: the configuration has no place for it`,
      );
    }
  }
  addKind(unknown, notes.problems);
  if (passed.length > 0) {
    notes.warnings.push(`Tensors that are no part of the model are passed over: ${quotedNames(passed)}`);
  }
}

/** The configuration, not tied any more when another head than the embedding is stored. @mutates notes.warnings */
function withHead(
  config: ModelConfig,
  wanted: Wanted,
  tensors: ReadonlyMap<string, TensorEntry>,
  notes: Notes,
): ModelConfig {
  const [embedding, head] = [tensors.get(wanted.embedding ?? ""), tensors.get(wanted.head ?? "")];
  if (!config.tieWordEmbeddings || embedding === undefined || head === undefined) return config;
  if (sameValues(embedding, head)) return config;
  notes.warnings.push(
    `tie_word_embeddings is true, but "${wanted.head}" differs from "${wanted.embedding}": ` +
      "the stored head is used, untied, as transformers does",
  );
  return { ...config, tieWordEmbeddings: false };
}
