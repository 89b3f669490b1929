// SPDX-License-Identifier: Apache-2.0
/** What a measured training step is: model, method and batch, as plain data that processes hand on. */
import { join } from "node:path";
import type { ActivationPolicyName } from "../../lib/activations/registry.ts";
import type { JsonObject } from "../../lib/core/json.ts";
import type { CouplingName } from "../../lib/models/wiring/coupling.ts";
import { type Method, methodByName } from "../../lib/methods/methods.ts";
import type { CaseDType, Checkpoint } from "./checkpoint.ts";

/** A method with its sizes; `none` is the frozen model: forward, and backward to the embedding's output. */
export type CaseMethod =
  | { readonly method: "none"; readonly sizes: Record<string, never> }
  | { readonly method: "lora"; readonly sizes: { readonly rank: number; readonly alpha: number } }
  | { readonly method: "parallel"; readonly sizes: { readonly neurons: number } }
  | { readonly method: "sparse"; readonly sizes: SparseSizes }
  | { readonly method: "bottleneck" | CouplingName; readonly sizes: JsonObject };

/** r, N, k_e and K. */
export type SparseSizes = {
  readonly neurons: number;
  readonly experts: number;
  readonly activeExperts: number;
  readonly topK: number;
};

/** One case, as a process of either side reads it. */
export type StepCase = CaseMethod & {
  /** Unique in a run. */
  readonly name: string;
  /** Folder of the checkpoint. */
  readonly model: string;
  readonly dtype: CaseDType;
  readonly sequences: number;
  readonly seqLen: number;
  readonly threads: number;
  readonly seed: number;
  /** What backward remembers of our step. Default: what the method takes by itself. */
  readonly activations?: ActivationPolicyName;
  /** Of what our step undoes. Default: what it takes by itself. */
  readonly anchorEvery?: number;
  /** Whether PyTorch compiles its model. */
  readonly compile: boolean;
};

/** Of all cases of a run. */
export interface CaseDefaults {
  readonly threads: number;
  readonly seed: number;
}

/** The published sizes at r and N. */
export function sparseSizes(neurons: number, experts: number, topK = 64, activeExperts = 8): CaseMethod {
  return { method: "sparse", sizes: { neurons, experts, activeExperts, topK } };
}

/** A case on a checkpoint: sequences of at most 256 tokens, as training does by default. */
export function stepCase(
  name: string,
  checkpoint: Pick<Checkpoint, "folder" | "dtype">,
  method: CaseMethod,
  tokens: number,
  { threads, seed }: CaseDefaults,
): StepCase {
  const seqLen = Math.min(256, tokens);
  const batch = { sequences: tokens / seqLen, seqLen };
  return {
    name,
    model: checkpoint.folder,
    dtype: checkpoint.dtype,
    ...method,
    ...batch,
    threads,
    seed,
    compile: false,
  };
}

/** Our method of a case, or null for none. */
export function methodOf({ method, sizes }: CaseMethod): Method | null {
  return method === "none" ? null : methodByName(method, { ...sizes });
}

/** Writes a case where a process can read it. Returns the file. */
export async function writeCase(one: StepCase): Promise<string> {
  const file = join(one.model, `${one.name}.json`);
  await Deno.writeTextFile(file, JSON.stringify(one));
  return file;
}
