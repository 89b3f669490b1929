// SPDX-License-Identifier: Apache-2.0
/** The commands there are. Adding one is a file and a line here. */
import { DOCTOR } from "./doctor_command.ts";
import { PREVIEW } from "./preview_command.ts";
import type { CommandSpec } from "./program.ts";

/** All commands, in the order of the README. */
export const COMMANDS: readonly CommandSpec[] = [PREVIEW, DOCTOR];
