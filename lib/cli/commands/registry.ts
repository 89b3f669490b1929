// SPDX-License-Identifier: Apache-2.0
/** The commands there are. Adding one is a file and a line here. */
import { ABLATE } from "./ablate.ts";
import { completionCommand } from "./completion.ts";
import { DOCTOR } from "./doctor.ts";
import { EVALUATE } from "./evaluate.ts";
import { GENERATE } from "./generate.ts";
import { MERGE } from "./merge.ts";
import { PREVIEW } from "./preview.ts";
import type { CommandSpec } from "../program.ts";
import { REPORT } from "./report.ts";
import { TRAIN } from "./train.ts";

/** All commands, in the order of the README. */
export const COMMANDS: readonly CommandSpec[] = [
  TRAIN,
  ABLATE,
  EVALUATE,
  GENERATE,
  PREVIEW,
  MERGE,
  REPORT,
  DOCTOR,
  completionCommand(() => COMMANDS),
];
