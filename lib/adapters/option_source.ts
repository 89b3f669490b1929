// SPDX-License-Identifier: Apache-2.0
/** Who wrote the options of an adapter: what mistakes in them are called, and which are mistakes at all. */
/**
 * The user, for a new adapter; or PEFT, which saved one: there, options that match nothing have had no effect, and names of
 * modules are those of the model that PEFT had.
 */
export type OptionSource = { readonly by: "user" } | {
  readonly by: "peft";
  /** Modules that have a delta in the file, by the names of that model: of a causal language model, or of the bare one in it. */
  readonly modules: readonly string[];
};
