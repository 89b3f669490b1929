// SPDX-License-Identifier: Apache-2.0
/** A process that runs one kind of step when asked: ours or PyTorch's, by the same protocol of JSON lines. */
import { fileURLToPath } from "node:url";
import { peerCommand } from "../parity/python.ts";
import { type StepCase, writeCase } from "./cases.ts";

/** What a step took. */
export interface StepTime {
  readonly ms: number;
  readonly loss: number;
  /** Ours only: mean neurons that fired, and milliseconds by part. */
  readonly activeNeurons?: number | null;
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
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: AsyncGenerator<string>;

  private constructor(child: Deno.ChildProcess, lines: AsyncGenerator<string>, ready: Ready) {
    this.#child = child;
    this.#lines = lines;
    this.#writer = child.stdin.getWriter();
    this.ready = ready;
  }

  /** Starts a process and waits until its case is prepared. @throws {Error} With what it said, when it ends instead */
  static async start(side: Side, one: StepCase): Promise<StepProcess> {
    const file = await writeCase(one);
    const child = command(side, file).spawn();
    const lines = linesOf(child.stdout);
    return new StepProcess(child, lines, await answer<Ready>(lines, one.name));
  }

  /** Runs one step. */
  step(): Promise<StepTime> {
    return this.#ask<StepTime>("step");
  }

  /** The most memory the process has held, mapped files included. */
  async peakBytes(): Promise<number> {
    return (await this.#ask<{ bytes: number }>("peak")).bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#child.status;
  }

  async #ask<T>(line: string): Promise<T> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
    return await answer<T>(this.#lines, line);
  }
}

function command(side: Side, file: string): Deno.Command {
  const pipes = { stdin: "piped", stdout: "piped", stderr: "inherit" } as const;
  if (side === "ours") {
    const script = fileURLToPath(new URL("our_step.ts", import.meta.url));
    return new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--allow-all", script, file],
      ...pipes,
    });
  }
  const { program, args, env } = peerCommand("bench_torch.py", [file]);
  return new Deno.Command(program, { args, env, ...pipes });
}

async function answer<T>(lines: AsyncGenerator<string>, asked: string): Promise<T> {
  const { value, done } = await lines.next();
  if (done) throw new Error(`The process of a step ended before it answered to ${asked}`);
  return JSON.parse(value) as T;
}

/** Lines of a stream that are JSON objects; libraries may print others between them. */
async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const text = stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>);
  for await (const piece of text) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("{")) yield line;
  }
}
