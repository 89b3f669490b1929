// SPDX-License-Identifier: Apache-2.0
/** Every list of mutants, by the area of their files. */
import type { Mutant } from "./mutant.ts";
import { ACTIVATIONS } from "./activations.ts";
import { ADAPTERS } from "./adapters.ts";
import { ADAPTERS_FILES } from "./adapters_files.ts";
import { ADAPTERS_LORA } from "./adapters_lora.ts";
import { ADAPTERS_SPARSE } from "./adapters_sparse.ts";
import { CLI } from "./cli.ts";
import { CORE } from "./core.ts";
import { CSRC } from "./csrc.ts";
import { DATA } from "./data.ts";
import { DATA_FILES } from "./data_files.ts";
import { DATA_IMAGES } from "./data_images.ts";
import { EVALUATE } from "./evaluate.ts";
import { EVALUATE_ANSWERS } from "./evaluate_answers.ts";
import { FILES } from "./files.ts";
import { JINJA } from "./jinja.ts";
import { METHODS } from "./methods.ts";
import { MODELS } from "./models.ts";
import { MODELS_ENGINE } from "./models_engine.ts";
import { MODELS_PARTS } from "./models_parts.ts";
import { MODELS_WIRING } from "./models_wiring.ts";
import { NATIVE } from "./native.ts";
import { OPS } from "./ops.ts";
import { OPTIM } from "./optim.ts";
import { PREDICT } from "./predict.ts";
import { REPORT } from "./report.ts";
import { STORAGE } from "./storage.ts";
import { STUDY } from "./study.ts";
import { TASKS } from "./tasks.ts";
import { TENSOR } from "./tensor.ts";
import { TRAIN } from "./train.ts";
import { TRAIN_MEASURED } from "./train_measured.ts";
import { TRAIN_SAVED } from "./train_saved.ts";

/** Areas in the order of the table. */
export const MUTANTS: Readonly<Record<string, readonly Mutant[]>> = {
  core: CORE,
  files: FILES,
  jinja: JINJA,
  native: NATIVE,
  tensor: TENSOR,
  data: [...DATA, ...DATA_FILES, ...DATA_IMAGES],
  storage: STORAGE,
  ops: OPS,
  optim: OPTIM,
  models: [...MODELS, ...MODELS_ENGINE, ...MODELS_PARTS, ...MODELS_WIRING],
  tasks: TASKS,
  adapters: [...ADAPTERS, ...ADAPTERS_FILES, ...ADAPTERS_LORA, ...ADAPTERS_SPARSE],
  train: [...TRAIN, ...TRAIN_SAVED, ...TRAIN_MEASURED],
  predict: PREDICT,
  evaluate: [...EVALUATE, ...EVALUATE_ANSWERS],
  study: STUDY,
  report: REPORT,
  csrc: CSRC,
  activations: ACTIVATIONS,
  methods: METHODS,
  cli: CLI,
};
