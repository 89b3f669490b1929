// SPDX-License-Identifier: Apache-2.0
/** Classes of pictures: a folder of pictures for each, or rows with the path of one. */
import { join } from "node:path";
import { throwIfAny, UserError } from "../core/errors.ts";
import type { ClassLabel } from "../data/class_labels.ts";
import type { Dataset } from "../data/dataset.ts";
import { openImageReader } from "../data/images/image_files.ts";
import { readImageRows } from "../data/images/image_rows.ts";
import { loadImages } from "../data/images/load_images.ts";
import { type ImageProcessor, readProcessor } from "../data/images/processor.ts";
import type { LoadDataOptions } from "../data/load_data.ts";
import { readJsonIfThere } from "../files/read.ts";
import type { ModelConfig } from "../models/model.ts";
import { lastStack, type PatchInput, type TensorShape } from "../models/parts.ts";
import { readConfig } from "../models/read_config.ts";
import { namedParts } from "../models/tensor_names.ts";
import { CLASS_SCORING, classHeadFor, givesClasses } from "./classification.ts";
import { classesOfLabels, type LabelHead } from "./labelled_data.ts";
import type { Task, TaskModel } from "./task.ts";

/** What a folder says of the pictures that its model takes. */
const PROCESSOR = "preprocessor_config.json";

/** See {@linkcode Task}. */
export const imageClassification: Task = {
  name: "image-classification",
  summary: "a class of each picture",
  scoring: CLASS_SCORING,
  takes: "patches",
  suits: givesClasses,
  headFor: (own, paths) => classHeadFor(own, paths, classesOf),
  load: loadPictures,
};

async function classesOf(paths: readonly string[]): Promise<readonly string[]> {
  const labels = new Set<ClassLabel>();
  for await (const result of readImageRows(paths)) {
    if (result.ok && result.row.label !== null) labels.add(result.row.label);
  }
  return classesOfLabels(labels);
}

async function loadPictures(
  paths: readonly string[],
  model: TaskModel,
  { badRows }: LoadDataOptions,
): Promise<Dataset> {
  const { labels: classes } = model.config.head as LabelHead;
  const input = inputOf(model);
  const reader = await openImageReader(await processorOf(model), input.shape, PROCESSOR);
  const tokens = input.positions.rows as number;
  return await loadImages(paths, reader, { classes, tokens, ...(badRows && { badRows }) });
}

/** @throws {ValidationError} When the folder's configuration cannot be read */
function inputOf({ dir }: TaskModel): PatchInput<TensorShape> {
  const problems: string[] = [];
  const config = readConfig(dir, problems);
  throwIfAny(`Model ${dir}`, problems);
  return lastStack(namedParts(config as ModelConfig)).input as PatchInput<TensorShape>;
}

/** @throws {UserError} When the folder does not say what is to be made of pictures */
async function processorOf({ dir }: TaskModel): Promise<ImageProcessor> {
  const path = join(dir, PROCESSOR);
  const fields = await readJsonIfThere(path);
  if (fields === null) {
    throw new UserError(
      `${path} does not exist: it says how pictures are resized and normalised for the model`,
    );
  }
  return readProcessor(fields, path);
}
