// SPDX-License-Identifier: Apache-2.0
/** Every list of mutants, by the area of their files. */
import type { Mutant } from "./mutant.ts";
import { ADAPTERS } from "./adapters.ts";
import { CSRC } from "./csrc.ts";
import { FILES } from "./files.ts";
import { OPTIM } from "./optim.ts";
import { REPORT } from "./report.ts";
import { STUDY } from "./study.ts";
import { TRAIN } from "./train.ts";

/** Areas in the order of the table. */
export const MUTANTS: Readonly<Record<string, readonly Mutant[]>> = {
  files: FILES,
  optim: OPTIM,
  adapters: ADAPTERS,
  train: TRAIN,
  study: STUDY,
  report: REPORT,
  csrc: CSRC,
};
