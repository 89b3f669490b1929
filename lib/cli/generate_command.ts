// SPDX-License-Identifier: Apache-2.0
/** `deno task generate`: completes a prompt, streaming. */
import { yieldToEvents } from "../core/event_loop.ts";
import { promptFromText, stopIds } from "../data/examples.ts";
import { type FinishReason, generate } from "../evaluate/generate.ts";
import { ADAPTER_SESSION_FLAGS, openAdapterSession } from "./adapter_session.ts";
import type { FlagValues } from "./flags.ts";
import { listenForInterrupt } from "./interrupt.ts";
import type { Output } from "./output.ts";
import { type CommandSpec, EXIT } from "./program.ts";
import { UserError } from "../core/errors.ts";

/** The prompt given, or all of standard input when it is no terminal. */
async function readPrompt(values: FlagValues): Promise<string> {
  if (typeof values.prompt === "string") return values.prompt.replaceAll("\\n", "\n");
  if (Deno.stdin.isTerminal()) {
    throw new UserError("There is no prompt: give --prompt, or text on standard input");
  }
  return (await new Response(Deno.stdin.readable).text()).trimEnd();
}

async function run(values: FlagValues, output: Output): Promise<number> {
  const prompt = await readPrompt(values);
  using session = await openAdapterSession(values);
  const { model, hooks, adapter, tokenizer } = session;
  const format = { chatTemplate: (values["chat-template"] ?? "auto") as "auto" | "off" };
  const ids = await promptFromText(prompt, tokenizer, format);
  using interrupt = listenForInterrupt(() => output.write("\n"));
  const start = performance.now();
  let [text, tokens, finish]: [string, number, FinishReason | "interrupt" | null] = ["", 0, null];
  for await (
    const token of generate(model, tokenizer, [ids], {
      hooks,
      adapter,
      stopIds: await stopIds(tokenizer, model.config.eosTokenIds, format),
      maxNewTokens: (values["max-new-tokens"] ?? 256) as number,
      temperature: (values.temperature ?? 0) as number,
      topP: (values["top-p"] ?? 1) as number,
      seed: (values.seed ?? 0) as number,
      ...(values.stop === undefined ? {} : { stopStrings: values.stop as string[] }),
    })
  ) {
    output.write(token.text);
    text += token.text;
    tokens++;
    finish = token.finish;
    await yieldToEvents();
    if (interrupt.signal.aborted) {
      finish = "interrupt";
      break;
    }
  }
  output.write("\n");
  const seconds = (performance.now() - start) / 1000;
  output.result({ text, promptTokens: ids.length, tokens, finish, tokensPerSecond: tokens / seconds });
  return finish === "interrupt" ? EXIT.interrupted : EXIT.done;
}

/** The command. */
export const GENERATE: CommandSpec = {
  name: "generate",
  summary: "Completes a prompt, streaming; a model with a chat template is asked in conversation.",
  examples: [
    'deno task generate --prompt "Question: Who founded Miawick?\\nAnswer:"',
    'deno task generate --model checkpoints/llama --adapter runs/facts/adapter --prompt "Where was Mira Oldan born?"',
    "deno task generate --temperature 0.8 --top-p 0.95 --seed 1 < prompt.txt",
  ],
  flags: [
    ...ADAPTER_SESSION_FLAGS,
    { name: "prompt", kind: "text", help: "the prompt; \\n is a new line", defaultText: "standard input" },
    {
      name: "max-new-tokens",
      kind: "integer",
      min: 1,
      help: "tokens of the answer at most",
      defaultText: "256",
    },
    { name: "temperature", kind: "number", min: 0, help: "0 takes the likeliest token", defaultText: "0" },
    {
      name: "top-p",
      kind: "number",
      min: 0,
      above: true,
      max: 1,
      help: "draw only from the likeliest tokens of this share",
      defaultText: "1",
    },
    { name: "seed", kind: "integer", min: 0, max: 2 ** 32 - 1, help: "of sampling", defaultText: "0" },
    { name: "stop", kind: "texts", help: "texts that end the answer" },
  ],
  run,
};
