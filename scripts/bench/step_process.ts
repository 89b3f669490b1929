// SPDX-License-Identifier: Apache-2.0
/** A process that runs one kind of step when asked: ours or PyTorch's, by the same protocol of JSON lines. */
import { fileURLToPath } from "node:url";
import { peerCommand } from "../parity/python.ts";
import { type StepCase, writeCase } from "./cases.ts";
import { LineProcess } from "./line_process.ts";

/** What a step took. */
export interface StepTime {
  readonly ms: number;
  readonly loss: number;
  /** Ours only: of all threads; mean neurons that fired, most bytes of activations, and milliseconds by part. */
  readonly cpuMs?: number;
  readonly activeNeurons?: number | null;
  readonly activationBytes?: number;
  readonly parts?: Readonly<Record<string, number>>;
}

/** What a process says when it is ready. */
export interface Ready {
  readonly version: string;
  /** Trained parameters. */
  readonly trained: number;
}

/** Which side runs a case. */
export type Side = "ours" | "torch";

/** Owns a process that holds a prepared case. Use with `await using`. */
export class StepProcess implements AsyncDisposable {
  readonly ready: Ready;
  readonly #process: LineProcess;

  private constructor(process: LineProcess, ready: Ready) {
    this.#process = process;
    this.ready = ready;
  }

  /** Starts a process and waits until its case is prepared. @throws {Error} With what it said, when it ends instead */
  static async start(side: Side, one: StepCase): Promise<StepProcess> {
    const { program, args, env } = command(side, await writeCase(one));
    const process = new LineProcess(program, args, env);
    return new StepProcess(process, await process.next<Ready>(one.name));
  }

  /** Runs one step. */
  step(): Promise<StepTime> {
    return this.#process.ask<StepTime>("step");
  }

  /** The most memory the process has held, mapped files included. */
  async peakBytes(): Promise<number> {
    return (await this.#process.ask<{ bytes: number }>("peak")).bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

function command(
  side: Side,
  file: string,
): { program: string; args: string[]; env?: Record<string, string> } {
  if (side === "torch") return peerCommand("bench_torch.py", [file]);
  const script = fileURLToPath(new URL("our_step.ts", import.meta.url));
  return { program: Deno.execPath(), args: ["run", "--quiet", "--allow-all", script, file] };
}
