// SPDX-License-Identifier: Apache-2.0
/** Steps in turn: processes that hold a case each, a step of every one in every round. */
import type { StepCase } from "./cases.ts";
import { type Side, StepProcess, type StepTime } from "./step_process.ts";

/** A process that is ready, and its steps so far. Use with `await using`. */
export interface Contestant extends AsyncDisposable {
  readonly process: StepProcess;
  readonly firstLoss: number;
  /** Of the steps that count. */
  readonly ms: number[];
  /** The steps themselves. */
  readonly steps: StepTime[];
}

/** Starts a process and runs the steps that are not counted: memory is taken and code compiled in them. */
export async function enter(side: Side, one: StepCase): Promise<Contestant> {
  const process = await StepProcess.start(side, one);
  try {
    const { loss: firstLoss } = await process.step();
    await process.step();
    return {
      process,
      firstLoss,
      ms: [],
      steps: [],
      [Symbol.asyncDispose]: () => process[Symbol.asyncDispose](),
    };
  } catch (error) {
    await process[Symbol.asyncDispose]();
    throw error;
  }
}

/** Runs a step of each in every round: whatever else the machine does meets all of them. @mutates contestants */
export async function takeTurns(contestants: readonly Contestant[], rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const { process, ms, steps } of contestants) {
      const step = await process.step();
      ms.push(step.ms);
      steps.push(step);
    }
  }
}

/** One's time over another's, of each round. */
export function ratiosOf({ ms }: Contestant, over: Contestant): number[] {
  return ms.map((mine, round) => mine / (over.ms[round] as number));
}

/** One's time of the processor over another's, of each round: what others do on the machine counts less. Of ours alone. */
export function cpuRatiosOf({ steps }: Contestant, over: Contestant): number[] {
  return steps.map(({ cpuMs = NaN }, round) => cpuMs / (over.steps[round]?.cpuMs ?? NaN));
}
