// SPDX-License-Identifier: Apache-2.0
/** Flags that say which model runs where, shared by every command that runs one. */
import type { Flag } from "./flags.ts";

/** The model and its machine. */
export const MODEL_FLAGS: readonly Flag[] = [
  {
    name: "model",
    kind: "text",
    help: "Hugging Face checkpoint folder",
    defaultText: "the adapter's, or the demo's",
  },
  {
    name: "device",
    kind: "text",
    choices: ["auto", "cpu", "cuda"],
    help: "where the model runs",
    defaultText: "auto",
  },
  {
    name: "dtype",
    kind: "text",
    choices: ["auto", "f32", "bf16"],
    help: "of matrix products and of what lies between them; auto is bf16 where the machine multiplies it",
    defaultText: "auto",
  },
  { name: "threads", kind: "integer", min: 1, help: "CPU threads", defaultText: "all cores" },
];
