// SPDX-License-Identifier: Apache-2.0
/** The flags of `deno task train`, with the published defaults. */
import { DATA_FLAGS } from "./data_flags.ts";
import { METHOD_NAMES } from "../methods/registry.ts";
import { moduleWord } from "../models/modules.ts";
import { LINEAR_SITES } from "../models/sites.ts";
import { CLIP_SCOPES } from "../optim/clip.ts";
import { methodsOf } from "../train/settings.ts";
import type { Flag } from "./flags.ts";
import { REPORT_FLAGS } from "./live_report.ts";
import { MODEL_FLAGS } from "./model_flags.ts";

/** Methods that a flag makes sense for; absent: all. */
function forMethods(setting: string): { readonly methods?: readonly string[] } {
  const methods = methodsOf(setting);
  return methods === null ? {} : { methods };
}

/** Words for weights that a LoRA may change. */
const LORA_TARGETS: readonly string[] = [
  "all",
  "all-linear",
  ...LINEAR_SITES,
  ...LINEAR_SITES.map(moduleWord),
];

/** What is trained. */
const METHOD_FLAGS: readonly Flag[] = [
  {
    name: "method",
    kind: "text",
    choices: METHOD_NAMES,
    help: "what is trained",
    defaultText: "sparse",
  },
  {
    name: "adapter",
    kind: "text",
    help: "saved adapter to start from, ours or a LoRA of PEFT's; it brings its method and sizes",
    defaultText: "a new one",
  },
  {
    name: "neurons",
    kind: "integer",
    min: 1,
    ...forMethods("neurons"),
    help: "adapter neurons in each layer (r)",
    defaultText: "4096; parallel 1024",
  },
  {
    name: "experts",
    kind: "integer",
    min: 1,
    ...forMethods("experts"),
    help: "Key-Experts that the neurons are divided into (N)",
    defaultText: "4 * sqrt(neurons)",
  },
  {
    name: "active-experts",
    kind: "integer",
    min: 1,
    ...forMethods("activeExperts"),
    help: "experts the router picks for each token (k_e)",
    defaultText: "8",
  },
  {
    name: "top-k",
    kind: "integer",
    min: 1,
    ...forMethods("topK"),
    help: "neurons a token uses (K)",
    defaultText: "64",
  },
  {
    name: "gate",
    kind: "text",
    choices: ["raw", "softmax", "sigmoid", "none"],
    ...forMethods("gate"),
    help: "how a router logit scales its expert's neurons",
    defaultText: "raw",
  },
  {
    name: "scope",
    kind: "text",
    choices: ["token", "union"],
    ...forMethods("scope"),
    help: "a token uses its own neurons, or those of the whole micro-batch",
    defaultText: "token",
  },
  {
    name: "keys",
    kind: "text",
    choices: ["trained", "frozen"],
    ...forMethods("keys"),
    help: "whether keys are trained",
    defaultText: "trained",
  },
  {
    name: "placement",
    kind: "text",
    choices: ["auto", "host", "device"],
    ...forMethods("placement"),
    help: "where the adapter's rows are multiplied: in host memory, or where the model is; auto predicts",
    defaultText: "auto",
  },
  {
    name: "halves",
    kind: "text",
    choices: ["auto", "1", "2"],
    ...forMethods("halves"),
    help: "parts of a micro-batch that take turns, so that host work of one hides behind the other",
    defaultText: "auto",
  },
  {
    name: "cached-rows",
    kind: "integer",
    min: 1,
    ...forMethods("cachedRows"),
    help: "rows of each layer that the model's memory has room for with --placement device",
    defaultText: "all",
  },
  {
    name: "rank",
    kind: "integer",
    min: 1,
    ...forMethods("rank"),
    help: "rank of every delta",
    defaultText: "8",
  },
  {
    name: "lora-alpha",
    kind: "number",
    min: 0,
    above: true,
    ...forMethods("loraAlpha"),
    help: "deltas are scaled by alpha / rank",
    defaultText: "16",
  },
  {
    name: "lora-dropout",
    kind: "number",
    min: 0,
    max: 1,
    ...forMethods("loraDropout"),
    help: "share of its inputs that a delta does not see in a training step",
    defaultText: "0",
  },
  {
    name: "rslora",
    kind: "switch",
    ...forMethods("rslora"),
    help: "scale by alpha / sqrt(rank): rank-stabilised",
  },
  {
    name: "target",
    kind: "texts",
    names: LORA_TARGETS,
    ...forMethods("target"),
    help: "weights that get a delta: " + LINEAR_SITES.join(", ") +
      ", ends of module names (layers.0.self_attn.q_proj), or a regular expression as PEFT has it",
    defaultText: "all",
  },
  {
    name: "exclude-target",
    kind: "texts",
    names: LORA_TARGETS,
    ...forMethods("excludeTarget"),
    help: "targets that get none, told in the same ways",
  },
  {
    name: "layers-to-transform",
    kind: "integers",
    min: 0,
    ...forMethods("layersToTransform"),
    help: "layers whose weights are targets, from 0: 0,1 or 8-15",
    defaultText: "all",
  },
  {
    name: "rank-pattern",
    kind: "numbers",
    ...forMethods("rankPattern"),
    help: "other ranks, by the end of a module's name as a regular expression: q_proj=16",
  },
  {
    name: "alpha-pattern",
    kind: "numbers",
    ...forMethods("alphaPattern"),
    help: "other alphas, in the same way",
  },
];

/** How it is trained. */
const OPTIMIZER_FLAGS: readonly Flag[] = [
  {
    name: "lr",
    kind: "number",
    min: 0,
    above: true,
    help: "peak learning rate",
    defaultText: "1e-4; full 1e-5",
  },
  {
    name: "schedule",
    kind: "text",
    choices: ["linear", "cosine", "constant"],
    help: "learning rate after the warm-up",
    defaultText: "linear",
  },
  {
    name: "warmup-ratio",
    kind: "number",
    min: 0,
    max: 1,
    help: "share of the steps over which the rate rises",
    defaultText: "0.02",
  },
  { name: "weight-decay", kind: "number", min: 0, help: "decoupled weight decay", defaultText: "0" },
  {
    name: "adam",
    kind: "text",
    choices: ["dense", "lazy-exact", "lazy"],
    ...forMethods("adam"),
    help: "rows without a gradient: dense moves them, lazy-exact gives the same bits later, lazy leaves them",
    defaultText: "lazy-exact",
  },
  { name: "beta1", kind: "number", min: 0, max: 1, help: "decay of the first moment", defaultText: "0.9" },
  { name: "beta2", kind: "number", min: 0, max: 1, help: "decay of the second moment", defaultText: "0.999" },
  {
    name: "adam-eps",
    kind: "number",
    min: 0,
    above: true,
    help: "added to the root of v",
    defaultText: "1e-8",
  },
  {
    name: "clip",
    kind: "number",
    min: 0,
    help: "largest gradient norm, 0 for none",
    defaultText: "1",
  },
  {
    name: "clip-by",
    kind: "text",
    choices: CLIP_SCOPES,
    help: "the norm of all gradients, or of each layer's: then a layer need not wait for the others",
    defaultText: "all",
  },
  { name: "epochs", kind: "integer", min: 1, help: "passes over the data", defaultText: "4" },
  {
    name: "steps",
    kind: "integer",
    min: 1,
    insteadOf: "epochs",
    help: "optimizer steps, instead of epochs",
  },
  { name: "batch-size", kind: "integer", min: 1, help: "rows of one optimizer step", defaultText: "64" },
  {
    name: "micro-batch-size",
    kind: "integer",
    min: 1,
    help: "rows computed at once",
    defaultText: "4",
  },
  {
    name: "activations",
    kind: "text",
    choices: ["store", "recompute"],
    help: "what backward remembers: recompute trades time for memory",
    defaultText: "store",
  },
  {
    name: "seed",
    kind: "integer",
    min: 0,
    max: 2 ** 32 - 1,
    help: "of every random choice",
    defaultText: "42",
  },
];

/** What it is trained on, beside {@linkcode DATA_FLAGS}. */
const TRAINING_DATA_FLAGS: readonly Flag[] = [
  { name: "eval-data", kind: "texts", help: "JSONL files whose loss is watched" },
  { name: "packing", kind: "switch", help: "fill each row with several examples, kept apart in attention" },
];

/** What is kept. */
const RUN_FLAGS: readonly Flag[] = [
  { name: "out", kind: "text", help: "run folder", defaultText: "runs/<date>-<method>" },
  { name: "eval-every", kind: "integer", min: 1, help: "steps between losses on the evaluation data" },
  { name: "save-every", kind: "integer", min: 1, help: "steps between checkpoints" },
  { name: "save-limit", kind: "integer", min: 1, help: "checkpoints kept", defaultText: "3" },
  {
    name: "resume",
    kind: "switch",
    help:
      "continue from the newest checkpoint in --out, with the flags of its run; those given now may change how long it is, how it is computed, and what is kept",
  },
  {
    name: "dry-run",
    kind: "switch",
    help: "foretell memory, work and time, and whether it fits; works for a config.json alone; then stop",
  },
];

/** All of them. */
export const TRAIN_FLAGS: readonly Flag[] = [
  ...MODEL_FLAGS,
  ...DATA_FLAGS,
  ...TRAINING_DATA_FLAGS,
  ...METHOD_FLAGS,
  ...OPTIMIZER_FLAGS,
  ...RUN_FLAGS,
  ...REPORT_FLAGS,
];
