// SPDX-License-Identifier: Apache-2.0
/** Who wrote the options of an adapter: what mistakes in them are called, and which are mistakes at all. */
import type { ModuleRoot } from "../models/modules.ts";

/**
 * The user, for a new adapter; or PEFT, which saved one: there, options that match nothing have had no effect, and names of
 * modules are those of the model that PEFT had.
 */
export type OptionSource = { readonly by: "user" } | { readonly by: "peft"; readonly root: ModuleRoot };
