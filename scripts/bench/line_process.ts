// SPDX-License-Identifier: Apache-2.0
/** A program that answers every line with a line of JSON: measuring sides that take turns. */

/** Owns such a program. Use with `await using`. */
export class LineProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: AsyncGenerator<string>;

  /** Starts it. */
  constructor(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const pipes = { stdin: "piped", stdout: "piped", stderr: "inherit" } as const;
    this.#child = new Deno.Command(program, { args: [...args], env: { ...env }, ...pipes }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#lines = jsonLines(this.#child.stdout);
  }

  /** Sends a line and waits for the answer. @throws {Error} When the program ends instead */
  async ask<T>(line: string): Promise<T> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
    return await this.next<T>(line);
  }

  /** The next answer. @throws {Error} When the program ends instead; `about` says what was waited for */
  async next<T>(about: string): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`A program that measures ended before it answered to ${about || "a line"}`);
    return JSON.parse(value) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {}); // a program that has ended reads no more
    await this.#child.status;
  }
}

/** Lines of a stream that are JSON objects; libraries may print others between them. */
async function* jsonLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const text = stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>);
  for await (const piece of text) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("{")) yield line;
  }
}

/** Lines of standard input as they come: what such a program is asked. */
export async function* inputLines(): AsyncGenerator<string> {
  let rest = "";
  for await (const piece of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
