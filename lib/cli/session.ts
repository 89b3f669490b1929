// SPDX-License-Identifier: Apache-2.0
/** Opens what most commands start from: kernels, a model and its tokenizer. */
import { fileURLToPath } from "node:url";
import { throwIfAny } from "../core/errors.ts";
import { checkVocabulary, loadTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { loadModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { nativeKernels } from "../ops/native/native_kernels.ts";
import type { FlagValues } from "./flags.ts";

/** The model, data and texts that ship with the project. */
export const DEMO = {
  model: fileURLToPath(new URL("../../notebooks/demo/model", import.meta.url)),
  facts: fileURLToPath(new URL("../../notebooks/demo/facts.jsonl", import.meta.url)),
  general: fileURLToPath(new URL("../../notebooks/demo/general.jsonl", import.meta.url)),
} as const;

/** An open model with its tokenizer. Disposing it gives back the files and the native lanes. */
export interface Session extends Disposable {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
}

/** Opens the model that the flags name. */
export async function openSession(values: FlagValues): Promise<Session> {
  const problems: string[] = [];
  if (values.device === "cuda") {
    problems.push("--device cuda: this build has no CUDA backend; use --device cpu or auto");
  }
  throwIfAny("The command line", problems);
  const folder = (values.model ?? DEMO.model) as string;
  const kernels = nativeKernels({
    compute: (values.dtype ?? "auto") as "auto" | "f32" | "bf16",
    ...(typeof values.threads === "number" ? { threads: values.threads } : {}),
  });
  const open = new DisposableStack();
  open.use(kernels);
  try {
    const tokenizer = await loadTokenizer(folder);
    const model = open.use(await loadModel(folder, kernels));
    checkVocabulary(tokenizer, model.config.vocabSize);
    return { model, tokenizer, [Symbol.dispose]: () => open.dispose() };
  } catch (error) {
    open.dispose();
    throw error;
  }
}
