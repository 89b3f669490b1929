// SPDX-License-Identifier: Apache-2.0
/** The commands there are. Adding one is a file and a line here. */
import { ABLATE } from "./ablate_command.ts";
import { completionCommand } from "./completion_command.ts";
import { DOCTOR } from "./doctor_command.ts";
import { EVALUATE } from "./evaluate_command.ts";
import { GENERATE } from "./generate_command.ts";
import { MERGE } from "./merge_command.ts";
import { PREVIEW } from "./preview_command.ts";
import type { CommandSpec } from "./program.ts";
import { REPORT } from "./report_command.ts";
import { TRAIN } from "./train_command.ts";

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
