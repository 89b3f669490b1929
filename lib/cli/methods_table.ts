// SPDX-License-Identifier: Apache-2.0
/** What every method would train on a model, and what memory that takes: `deno task doctor --methods`. */
import { ValidationError } from "../core/errors.ts";
import { DATA_OPTIONS } from "../data/data_options.ts";
import { type Method, METHOD_EXAMPLES } from "../methods/methods.ts";
import type { Model } from "../models/model.ts";
import { predictMemory } from "../predict/memory.ts";
import { formatBytes, formatCount, formatShare } from "../report/format.ts";
import { formatTable } from "../report/table.ts";
import { plan } from "../train/plan.ts";

/** A method on a model, with its defaults. */
export interface MethodAccount {
  readonly method: string;
  readonly summary: string;
  readonly trainedParameters: number;
  /** Trained parameters over the model's. */
  readonly trainedShare: number;
  /** Predicted host bytes by class, for steps of the default batch. */
  readonly bytes: Readonly<Partial<Record<string, number>>>;
  readonly totalBytes: number;
  /** Why it cannot be merged into a checkpoint of this family, or null when it can. */
  readonly mergeRefusal: string | null;
}

/** A method that a model cannot be trained by with its defaults. */
export interface MethodRefusal {
  readonly method: string;
  /** One sentence each. */
  readonly problems: readonly string[];
}

/** All methods, each in one of the two lists, in the order of their registry. Allocates nothing. */
export async function methodAccounts(
  model: Model,
): Promise<{ readonly methods: readonly MethodAccount[]; readonly refused: readonly MethodRefusal[] }> {
  const methods: MethodAccount[] = [];
  const refused: MethodRefusal[] = [];
  for (const method of METHOD_EXAMPLES) {
    try {
      methods.push(await methodAccount(model, method));
    } catch (error) {
      if (!(error instanceof ValidationError)) throw error;
      refused.push({ method: method.name, problems: error.problems });
    }
  }
  return { methods, refused };
}

/** @throws {ValidationError} When the method does not fit the model */
async function methodAccount(model: Model, method: Method): Promise<MethodAccount> {
  const seqLen = Math.min(DATA_OPTIONS.seqLen.default, model.config.maxPositionEmbeddings);
  const run = plan(model, { method, batch: { seqLen } });
  const memory = await predictMemory(run);
  return {
    method: method.name,
    summary: method.summary,
    trainedParameters: memory.trainedParameters,
    trainedShare: memory.trainedParameters / memory.modelParameters,
    bytes: memory.bytes,
    totalBytes: memory.totalBytes,
    mergeRefusal: run.adapterKind.mergeRefusal ?? null,
  };
}

/** The accounts as text: one line a method, then what each is, and what does not go. */
export function formatMethods(
  { methods: accounts, refused }: Awaited<ReturnType<typeof methodAccounts>>,
): string {
  const classes = Object.keys(accounts[0]?.bytes ?? {});
  const rows = accounts.map((
    { method, trainedParameters, trainedShare, bytes, totalBytes, mergeRefusal },
  ) => [
    method,
    formatCount(trainedParameters),
    formatShare(trainedShare),
    ...classes.map((name) => formatBytes(bytes[name] ?? 0)),
    formatBytes(totalBytes),
    mergeRefusal === null ? "yes" : "no",
  ]);
  const table = formatTable([
    ["method", "trains", "of the model", ...classes, "together", "merges"],
    ...rows,
  ]);
  const summaries = formatTable([
    ["method", "is"],
    ...accounts.map(({ method, summary }) => [method, summary]),
  ]);
  const refusals = accounts.filter(({ mergeRefusal }) => mergeRefusal !== null)
    .map(({ method, mergeRefusal }) => `${method} does not merge: ${mergeRefusal}`);
  const absent = refused.map(({ method, problems }) => `${method} does not fit: ${problems.join("; ")}`);
  return [table, summaries, ...refusals, ...absent].join("\n\n");
}
