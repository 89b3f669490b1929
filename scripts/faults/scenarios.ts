// SPDX-License-Identifier: Apache-2.0
/** What is disturbed: commands on a tiny model, each with the state it starts from and the way on after a fault. */
import { copy, exists } from "../folders.ts";
import { runCommand } from "./struck.ts";

/** A command, and all there is to know of it to disturb it. Paths are relative to its working folder. */
export interface Scenario {
  readonly name: string;
  /** Makes what the command needs in a folder that has model and data. */
  prepare(folder: string): Promise<void>;
  readonly command: readonly string[];
  /** How the work goes on after a fault; null when nothing is left to do. */
  again(folder: string): Promise<readonly string[] | null>;
  /** What the work goes on without, when a fault strikes there: a warning must tell. */
  readonly optional: RegExp;
  /** What a process that is struck is called. Default "meft.ts". */
  readonly process?: string;
  readonly env?: (folder: string) => Readonly<Record<string, string>>;
}

/** Of a training or a study. */
const PAGES = /(^|\/)\.?(report\.html|examples\.json|tensorboard)/;
const NEVER = /^\b$/;
const ROWS = ["--model", "model", "--data", "facts.jsonl", "--seq-len", "64", "--threads", "1"];
const BATCHES = ["--batch-size", "4", "--micro-batch-size", "4"];
const SPARSE = ["--neurons", "64", "--top-k", "16"];
const LORA = ["--method", "lora", "--rank", "2"];
const TRAIN = [
  "train",
  ...ROWS,
  ...BATCHES,
  "--save-every",
  "2",
  "--save-limit",
  "2",
  "--examples",
  "0",
  "--out",
  "run",
];

/** Puts model and data into a new folder. */
export async function layOut(folder: string): Promise<void> {
  const demo = new URL("../../notebooks/demo/", import.meta.url);
  await copy(new URL("model", demo), `${folder}/model`);
  await Deno.copyFile(new URL("facts.jsonl", demo), `${folder}/facts.jsonl`);
}

async function mustRun(folder: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await runCommand(args, { folder });
  if (code !== 0) throw new Error(`meft ${args.join(" ")} ended with ${code} undisturbed: ${stderr}`);
}

/** A training from its start; resumed when there is a run. */
function training(name: string, flags: readonly string[], more: Partial<Scenario> = {}): Scenario {
  const command = [...TRAIN, "--steps", "6", ...flags];
  return {
    name,
    prepare: async () => {},
    command,
    again: async (folder) => await exists(`${folder}/run/run.json`) ? [...command, "--resume"] : command,
    optional: PAGES,
    ...more,
  };
}

/** A training that was killed as its last checkpoint got its name, and goes on. */
function resumed(name: string, flags: readonly string[]): Scenario {
  const fresh = training(name, flags);
  const command = [...fresh.command, "--resume"];
  return {
    ...fresh,
    async prepare(folder) {
      const whole = await Deno.makeTempDir();
      await copy(folder, whole);
      const path = await Deno.realPath(whole);
      const { calls } = await runCommand(fresh.command, { folder: path, watch: { process: "meft.ts" } });
      await Deno.remove(whole, { recursive: true });
      const at = calls.find(({ kind, path }) => kind === "rename" && path.endsWith("step-000006"))?.number;
      if (at === undefined) {
        throw new Error("The last checkpoint of a training is renamed into its place by no call");
      }
      await runCommand(fresh.command, {
        folder,
        watch: { process: "meft.ts", fault: { at, action: "kill-before" } },
      });
    },
    command,
    again: () => Promise.resolve(command),
  };
}

/** A command that reads a LoRA's run and is simply called again. */
function afterLora(name: string, command: readonly string[], more: Partial<Scenario> = {}): Scenario {
  return {
    name,
    prepare: (folder) => mustRun(folder, [...TRAIN, "--steps", "2", ...LORA]),
    command,
    again: () => Promise.resolve(command),
    optional: NEVER,
    ...more,
  };
}

const ADAPTER = ["--adapter", "run/adapter"];
const MERGE = ["merge", "--model", "model", ...ADAPTER, "--out", "merged", "--threads", "1"];

/** All, in the order of their weight: a short campaign takes the first ones. */
export const SCENARIOS: readonly Scenario[] = [
  training("train", SPARSE),
  afterLora("merge", MERGE, { again: async (folder) => await exists(`${folder}/merged`) ? null : MERGE }),
  resumed("resume", SPARSE),
  study(),
  training("train-lora", [...LORA, "--tensorboard", "--eval-data", "facts.jsonl", "--eval-every", "3"]),
  afterLora("evaluate", [
    ...["evaluate", ...ROWS, ...ADAPTER, "--metric", "exact-match", "--limit", "4", "--max-new-tokens", "4"],
    ...["--predictions", "answers.jsonl"],
  ]),
  training("train-page", SPARSE, { process: "report_process.ts", optional: /^/ }),
  afterLora("report", ["report", "--run", "run", "--tensorboard"]),
  cached(),
  training("train-full", ["--method", "full"]),
  afterLora("generate", [
    "generate",
    "--model",
    "model",
    ...ADAPTER,
    "--prompt",
    "Where?",
    "--max-new-tokens",
    "2",
  ]),
];

function study(): Scenario {
  const command = [
    ...["ablate", ...ROWS, ...BATCHES, ...SPARSE, "--steps", "2", "--save-every", "1", "--seeds", "1", "2"],
    ...[
      "--metric",
      "exact-match",
      "--limit",
      "2",
      "--max-new-tokens",
      "2",
      "--keep-adapters",
      "--out",
      "study",
    ],
  ];
  return {
    name: "ablate",
    prepare: async () => {},
    command,
    again: () => Promise.resolve(command),
    optional: PAGES,
  };
}

/** Rows enough that their tokens are kept on disk. */
function cached(): Scenario {
  const rows = ROWS.map((word) => word === "facts.jsonl" ? "many.jsonl" : word);
  const command = ["evaluate", ...rows, "--metric", "loss", "--limit", "4"];
  return {
    name: "cache",
    async prepare(folder) {
      const text = await Deno.readTextFile(`${folder}/facts.jsonl`);
      await Deno.writeTextFile(`${folder}/many.jsonl`, text.repeat(Math.ceil(2 ** 20 / text.length)));
    },
    command,
    again: () => Promise.resolve(command),
    optional: /^cache/,
    env: (folder) => ({ MEFT_CACHE: `${folder}/cache` }),
  };
}
