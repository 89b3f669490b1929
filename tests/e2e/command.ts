// SPDX-License-Identifier: Apache-2.0
/** Runs the command line as a user does, in a process of its own. */

/** The checkout. */
export const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** What a command left behind. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The demo's files. */
export const DEMO_MODEL = `${ROOT}notebooks/demo/model`;
export const DEMO_FACTS = `${ROOT}notebooks/demo/facts.jsonl`;

const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
  tasks: Record<string, { command: string }>;
};

/** A command as `deno task` runs it, with its permissions, as a list of words; the process is Deno's own. */
export function commandLine([name = "", ...args]: readonly string[]): string[] {
  // What is no command gets what the smallest one has.
  const command = tasks[name]?.command ?? tasks.completion?.command.replace(/completion$/, "") ?? "";
  const words = name in tasks ? args : [name, ...args];
  return [
    "sh",
    "-c",
    `exec "$0" ${command.replace(/^(deno|sh scripts\/deno\.sh) /, "")} "$@"`,
    Deno.execPath(),
    ...words,
  ];
}

/** Starts a command; its output is piped, its input empty unless that is too. */
export function spawn(args: readonly string[], stdin: "null" | "piped" = "null"): Deno.ChildProcess {
  const [program = "", ...words] = commandLine(args);
  return new Deno.Command(program, {
    args: words,
    stdin,
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
}

/** Runs a command to its end. */
export function runCommandLine(...args: string[]): Promise<CommandResult> {
  return resultOf(spawn(args));
}

/** Runs a command to its end with text on its standard input. */
export async function spawnWithInput(args: readonly string[], input: string): Promise<CommandResult> {
  const child = spawn(args, "piped");
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  return await resultOf(child);
}

/** Starts a training and calls `then` as soon as it has saved a checkpoint; @returns how it ended */
export async function afterFirstSave(
  args: readonly string[],
  then: (child: Deno.ChildProcess) => void,
): Promise<CommandResult> {
  const child = spawn(args);
  const errors = new Response(child.stderr).text();
  let stdout = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const before = stdout.includes("saved ");
    stdout += text;
    if (!before && stdout.includes("saved ")) then(child);
  }
  return { code: (await child.status).code, stdout, stderr: await errors };
}

async function resultOf(child: Deno.ChildProcess): Promise<CommandResult> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** The demo's model and rows, cut short. */
export const DEMO_ROWS = ["--model", DEMO_MODEL, "--data", DEMO_FACTS, "--seq-len", "64"] as const;

/** Flags of a run that takes a second. */
export const SMALL_RUN = [
  ...DEMO_ROWS,
  ...["--neurons", "64", "--top-k", "16", "--batch-size", "8"],
] as const;

/** {@linkcode SMALL_RUN} with other values of its flags. */
export function smallRunWith(values: Readonly<Record<string, string>>): string[] {
  return SMALL_RUN.map((text, i) => values[SMALL_RUN[i - 1]?.replace("--", "") ?? ""] ?? text);
}

/** A training of a few seconds, so that something can happen after its first checkpoint; without a model and a folder. */
export const LONG_RUN = [
  ...[
    "train",
    "--data",
    DEMO_FACTS,
    "--seq-len",
    "32",
    "--batch-size",
    "4",
    "--neurons",
    "64",
    "--top-k",
    "16",
  ],
  ...["--examples", "0", "--steps", "60", "--save-every", "10"],
];

/** Every file of a run's checkpoints by its name, and how many bytes it has. */
export function savedFiles(run: string): Readonly<Record<string, number>> {
  const files: Record<string, number> = {};
  for (const { name: folder } of Deno.readDirSync(`${run}/checkpoints`)) {
    for (const { name } of Deno.readDirSync(`${run}/checkpoints/${folder}`)) {
      files[`${folder}/${name}`] = Deno.statSync(`${run}/checkpoints/${folder}/${name}`).size;
    }
  }
  return files;
}

/** What a run learnt. */
export function adapterBytes(run: string): Uint8Array {
  return Deno.readFileSync(`${run}/adapter/adapter_model.safetensors`);
}

/** Back to a checkpoint, as if the run had been killed after it. */
export async function backTo(run: string, step: number): Promise<void> {
  for (const { name } of [...Deno.readDirSync(`${run}/checkpoints`)]) {
    if (name > `step-00000${step}`) await Deno.remove(`${run}/checkpoints/${name}`, { recursive: true });
  }
  await Deno.remove(`${run}/adapter`, { recursive: true });
}
