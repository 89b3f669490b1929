// SPDX-License-Identifier: Apache-2.0
/** JSON files of models, adapters, runs and studies, each changed in ways that know what JSON is. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { openAdapterFiles } from "../../../lib/adapters/files/adapter_files.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { readConfigFile, readFlags } from "../../../lib/cli/flags/sources.ts";
import { declareFlags, type Flag } from "../../../lib/cli/flags/flags.ts";
import { readGrids } from "../../../lib/cli/flags/grid.ts";
import { ABLATE } from "../../../lib/cli/commands/ablate.ts";
import { TRAIN } from "../../../lib/cli/commands/train.ts";
import { settingsOf } from "../../../lib/cli/flags/settings.ts";
import { throwIfAny } from "../../../lib/core/errors.ts";
import type { RandomStream } from "../../../lib/core/rng.ts";
import { buildParts } from "../../../lib/models/families/registry.ts";
import { readConfig } from "../../../lib/models/read_config.ts";
import { ropeFrequencies } from "../../../lib/models/rope.ts";
import { readRunRecord } from "../../../lib/report/run_record.ts";
import { expandGrid } from "../../../lib/study/grid.ts";
import { readResults } from "../../../lib/study/results.ts";
import { manifestProblems } from "../../../lib/train/manifest.ts";
import { runOptionsOf } from "../../../lib/train/settings.ts";
import type { Fuzzer, Verdict } from "./fuzzer.ts";
import { mutatedBytes, mutatedJson, pick } from "./mutate_json.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const FIXTURES = join(ROOT, "tests/fixtures");
const json = (path: string): unknown => JSON.parse(Deno.readTextFileSync(join(FIXTURES, path)));

/** Read when first used: a fuzzer reads none of another's. */
function lazy<T>(read: () => T): () => T {
  let value: { readonly of: T } | null = null;
  return () => (value ??= { of: read() }).of;
}

const modelConfigs = lazy(() => {
  const hub = (json("configs/hub.json") as { config: unknown }[]).map(({ config }) => config);
  const models = [...Deno.readDirSync(join(FIXTURES, "models"))].map(({ name }) => name).sort();
  return [...hub, ...models.map((name) => json(`models/${name}/config.json`))];
});

/** `config.json` of a model. */
const CONFIG: Fuzzer = {
  name: "config",
  make: (random) => mutatedJson(random, pick(random, modelConfigs())),
  use(input, folder) {
    Deno.writeFileSync(join(folder, "config.json"), input);
    const problems: string[] = [];
    const config = readConfig(folder, problems);
    throwIfAny("The model", problems);
    const { rotary } = buildParts(config as NonNullable<typeof config>, (name) => name);
    for (const one of Object.values(rotary)) ropeFrequencies(one, 100);
    return Promise.resolve("accepted");
  },
};

const loras = lazy(() => {
  const folders = [...Deno.readDirSync(join(FIXTURES, "lora"))].map(({ name }) =>
    join(FIXTURES, "lora", name)
  ).sort();
  return folders.map((folder) => ({
    config: JSON.parse(Deno.readTextFileSync(join(folder, "adapter_config.json"))) as Record<string, unknown>,
    tensors: Deno.readFileSync(join(folder, "adapter_model.safetensors")),
  }));
});
const base = lazy(() => {
  const problems: string[] = [];
  return readConfig(join(FIXTURES, "models/llama_biases"), problems) as NonNullable<
    ReturnType<typeof readConfig>
  >;
});

/** Of ours, for lack of a fixture. */
const SPARSE = {
  meft_format: 1,
  adapter: {
    kind: "sparse",
    neurons: 64,
    experts: 8,
    activeExperts: 2,
    topK: 16,
    gate: "raw",
    scope: "token",
    keys: "trained",
  },
  base: { name: "model", hash: "0".repeat(64) },
};

/** `adapter_config.json` of ours or of PEFT's. */
const ADAPTER: Fuzzer = {
  name: "adapter",
  make: (random) => mutatedJson(random, pick(random, [...loras().map(({ config }) => config), SPARSE])),
  async use(input, folder) {
    Deno.writeFileSync(join(folder, "adapter_config.json"), input);
    Deno.writeFileSync(join(folder, "adapter_model.safetensors"), loras()[0]?.tensors as Uint8Array);
    const saved = await openAdapterFiles(folder);
    const { problems } = resolveAdapter(saved.spec, base());
    throwIfAny("The adapter", problems);
    return "accepted";
  },
};

const FLAGS_FILES: readonly Record<string, unknown>[] = [
  { lr: 1e-3, seed: 3, steps: 5, epochs: 2, batchSize: 8, "micro-batch-size": 4, method: "lora", rank: 4 },
  { method: "lora", target: ["q", "v"], layersToTransform: "0-1", rankPattern: { q: 4 }, loraAlpha: 8 },
  {
    neurons: 256,
    experts: 16,
    topK: 8,
    gate: "softmax",
    templateOption: { a: [1, { b: null }] },
    packing: true,
  },
  {
    grid: [{ part: "a", topK: [4, 8], lr: [0.1, 1e-3] }, { method: "lora", rank: [1, 2, 4] }],
    seeds: [1, 2, 3],
  },
  {
    grid: { "top-k": [4, 8, 16], neurons: [64, 128], clip: [0, 1], lossOn: ["all", "completion"] },
    seeds: "1,2",
  },
];

/** What a file of flags means to a command, as far as it goes without a model. */
function useFlags(flags: readonly Flag[], path: string): Verdict {
  const problems: string[] = [];
  const values = readConfigFile(path, flags, problems);
  throwIfAny("The command line", problems);
  const texts = (name: string) => (values[name] ?? []) as readonly string[];
  const grids = flags.some(({ name }) => name === "grid")
    ? readGrids(texts("grid"), texts("seeds"), problems)
    : [];
  throwIfAny("The command line", problems);
  const { grid: _, seeds: __, ...others } = values;
  const settings = settingsOf(flags === TRAIN.flags ? others : {});
  if (grids.length > 0) expandGrid(settings, grids);
  else runOptionsOf(settings, null, null);
  return "accepted";
}

/** A `--config` file. */
const FLAGS: Fuzzer = {
  name: "flags",
  make: (random) => mutatedJson(random, pick(random, FLAGS_FILES)),
  use(input, folder) {
    const path = join(folder, "flags.json");
    Deno.writeFileSync(path, input);
    const { grid } = FLAGS_FILES[0] as { grid?: unknown };
    const text = new TextDecoder().decode(input);
    return Promise.resolve(
      useFlags(grid === undefined && text.includes("grid") ? ABLATE.flags : TRAIN.flags, path),
    );
  },
};

const WORDS: readonly string[] = [
  ...[
    "0",
    "-1",
    "1",
    "0.5",
    "1e12",
    "1e308",
    "1e400",
    "NaN",
    "Infinity",
    "",
    " ",
    "x",
    "2147483648",
    "4294967296",
  ],
  ...[
    "9007199254740992",
    "9007199254740993",
    "1000000000000",
    "0x10",
    "1,2",
    "0-9999",
    "0-99999999999",
    "a=1",
    "=1",
  ],
  ...[
    "q=1e308",
    "(a+)+$=2",
    "[",
    "{}",
    "null",
    "true",
    "off",
    "a=b=c",
    "../..",
    "\u0000",
    "\u001b[2J",
    "--",
    "-",
    "\\",
  ],
  "9".repeat(400),
  "1,".repeat(5000),
  "0-9999,".repeat(500),
];

/** A command line of numbers, ranges and patterns. */
const COMMAND_LINE: Fuzzer = {
  name: "command-line",
  make(random) {
    const words: string[] = [];
    for (let i = 0; i < 4; i++) {
      words.push(`--${pick(random, TRAIN.flags).name}`, pick(random, WORDS));
    }
    return new TextEncoder().encode(words.join("\u0001"));
  },
  use(input) {
    const problems: string[] = [];
    const command = declareFlags(new Command("train").exitOverride(), TRAIN.flags);
    command.configureOutput({ outputError: () => {} });
    let values;
    try {
      command.parse(new TextDecoder().decode(input).split("\u0001"), { from: "user" });
      values = readFlags(command, TRAIN.flags, problems);
    } catch (error) {
      if ((error as Error).name === "CommanderError") return Promise.resolve("refused");
      throw error;
    }
    throwIfAny("The command line", problems);
    const { "chat-template": _, ...others } = values;
    runOptionsOf(settingsOf(others), null, null);
    return Promise.resolve("accepted");
  },
};

/** Of a state that is an empty object and a newline. */
const MANIFEST_OF = {
  format_version: 1,
  files: [{
    name: "state.json",
    bytes: 3,
    sha256: "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356",
  }],
};
const RECORD_OF = {
  format_version: 1,
  created: "2026-11-21T15:30:12Z",
  settings: {
    steps: 4,
    batch: { size: 8, micro: 4, seqLen: 64, packing: false },
    format: { chatTemplate: "auto" },
  },
  totalSteps: 4,
  model: { dir: "model", parameters: 1000 },
  data: { rowsRead: 3, rowsUsed: 3, badRows: [], tokens: 100, targets: 10, files: ["a.jsonl"] },
  memory: { bytes: { weights: 1, optimizer: 2 }, totalBytes: 3 },
};
const METRICS_OF = {
  ...{
    step: 1,
    loss: 2.5,
    lr: 1e-3,
    gradNorm: 1,
    tokens: 100,
    tokensPerSecond: 50,
    totalSteps: 4,
    epoch: 0,
    time: 1.7e9,
  },
  ...{
    expertLoad: [[1, 2], [3, 4]],
    deadNeurons: 0.5,
    evalLoss: 2,
    peakBytes: { weights: 1 },
    lanes: { bound: "products" },
  },
};
const RESULT_OF = {
  cell: "0123456789ab",
  label: "lr=1",
  status: "failed",
  error: "x",
  numbers: null,
  seed: 2,
  settings: {},
};

/** A folder of a run, or of a study, in which one file is wrong. */
function folderFuzzer(
  name: string,
  values: Readonly<Record<string, unknown>>,
  use: (folder: string) => Promise<unknown>,
): Fuzzer {
  const names = Object.keys(values);
  const line = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  return {
    name,
    make(random: RandomStream) {
      const chosen = pick(random, names);
      const text = mutatedJson(random, values[chosen]);
      const whole = chosen.endsWith("l") ? joinLines(random, line(values[chosen]), text) : text;
      return new Uint8Array([names.indexOf(chosen), ...whole]);
    },
    async use(input, folder) {
      for (const name of names) Deno.writeFileSync(join(folder, name), line(values[name]));
      Deno.writeFileSync(join(folder, names[input[0] as number] as string), input.subarray(1));
      await use(folder);
      return "accepted";
    },
  };
}

function joinLines(random: RandomStream, good: Uint8Array, changed: Uint8Array): Uint8Array {
  const end = pick(random, ["\n", "", "\n\n", "\r\n"]);
  const all = new Uint8Array([...good, ...changed, ...new TextEncoder().encode(end), ...good]);
  return pick(random, [all, all, mutatedBytes(random, all)]);
}

const RUN = folderFuzzer(
  "run",
  {
    "run.json": RECORD_OF,
    "metrics.jsonl": METRICS_OF,
    "examples.json": [{ prompt: "p", expected: ["a"], before: "b", after: null }],
  },
  async (folder) => {
    const { writeRunReport } = await import("../../../lib/report/run_report.ts");
    await readRunRecord(folder);
    await writeRunReport(folder);
  },
);

const CHECKPOINT = folderFuzzer(
  "checkpoint",
  { "manifest.json": MANIFEST_OF, "state.json": {} },
  async (folder) => {
    throwIfAny("The checkpoint", await manifestProblems(folder, ["state.json"]));
  },
);

const STUDY = folderFuzzer("study", { "results.jsonl": RESULT_OF }, async (folder) => {
  await readResults(folder);
});

/** All of them. */
export const CONFIG_FUZZERS: readonly Fuzzer[] = [
  CONFIG,
  ADAPTER,
  FLAGS,
  COMMAND_LINE,
  RUN,
  CHECKPOINT,
  STUDY,
];
