// SPDX-License-Identifier: Apache-2.0
/** Runs the study: each cell here, as `deno task ablate` does, and then the same in PyTorch. */
import { join } from "node:path";
import type * as meft from "../../../mod.ts";
import { createResources } from "../../../lib/study/resources.ts";
import { kept, runCells, type StudyConfig } from "../cells.ts";
import { runInPyTorch } from "./peer.ts";
import type { PairResult, SideResult } from "./results.ts";

/** Choices of {@linkcode runStudy}. */
export interface StudyOptions {
  /** Whether every cell is trained in PyTorch too. */
  readonly peers: boolean;
  readonly threads: number;
  readonly say: (text: string) => void;
}

/** Every cell, here and there, one after the other, so that both meet the same machine. */
export async function runStudy(
  config: StudyConfig,
  { peers, threads, say }: StudyOptions,
): Promise<{ pairs: PairResult[]; testRows: number; pytorch: string | null }> {
  using resources = createResources();
  const pairs: PairResult[] = [];
  let pytorch: string | null = null;
  for await (const { cell, label, numbers, times, settings, seed } of runCells(config, threads)) {
    const { scores, trainedParameters: trained } = numbers;
    const ours: SideResult = { accuracy: meanOf(scores["accuracy"]), f1: meanOf(scores["f1-macro"]), times };
    let torch: SideResult | null = null;
    if (peers) {
      const path = join(config.out, "pytorch", `${cell}.json`);
      const found = await kept(path, () => runInPyTorch(settings, resources));
      if (found.trained !== trained) {
        throw new Error(`${label} trains ${trained} parameters here and ${found.trained} in PyTorch`);
      }
      [torch, pytorch] = [found, found.version];
      say(describePair(label, ours, torch));
    }
    pairs.push({ method: settings.method ?? "", seed, lr: settings.lr as number, trained, ours, torch });
  }
  const test = await resources.evalData({ ...config.base, threads });
  return { pairs, testRows: test === null ? 0 : test.report.rowsUsed, pytorch };
}

function meanOf(estimate: meft.Estimate | undefined): number {
  return estimate?.mean ?? NaN;
}

function describePair(label: string, ours: SideResult, torch: SideResult): string {
  const side = (name: string, { accuracy, times }: SideResult) =>
    `${name} ${(100 * accuracy).toFixed(1)} %` +
    (times === null ? "" : `, ${(times.rows / times.seconds).toFixed(0)} rows/s`);
  return [label, side("meft", ours), side("PyTorch", torch)].join("  ");
}
