// SPDX-License-Identifier: Apache-2.0
/** `--help` of the tasks for people who work on meft; those of its users have theirs from `lib/cli`. */

/** What a task does and how it is called. */
interface TaskHelp {
  readonly summary: string;
  /** Flags or arguments with what they mean. */
  readonly flags: readonly (readonly [string, string])[];
  readonly examples: readonly string[];
}

/** The tasks, in the order of `deno.json`. */
export const TASK_HELP: Readonly<Record<string, TaskHelp>> = {
  build: {
    summary: "Builds the native library into build/cpu.",
    flags: [],
    examples: ["deno task build"],
  },
  test: {
    summary: "Builds what is stale and runs all tests and documentation examples, or those named.",
    flags: [["PATH...", "files and folders of tests; other flags are those of deno test"]],
    examples: ["deno task test", "deno task test tests/unit/data", "deno task test --filter rope tests/unit"],
  },
  ok: {
    summary:
      "Runs the whole gate: format, lint, types, levels, symbols, build, tests, a sample of faults, notebooks.",
    flags: [],
    examples: ["deno task ok"],
  },
  notebooks: {
    summary: "Type-checks every notebook and executes it headless, where Jupyter is installed.",
    flags: [],
    examples: ["deno task notebooks"],
  },
  asan: {
    summary: "Runs the native tests under the address and undefined-behaviour sanitizers.",
    flags: [["PATH...", "files and folders of tests; by default all native ones"]],
    examples: ["deno task asan", "deno task asan tests/native/lifetime_test.ts"],
  },
  mutants: {
    summary: "Makes wrong changes in a copy, one at a time, and says which of them no test notices.",
    flags: [
      ["--area NAME", "only this area's; may be given again"],
      ["--only NAME", "only this one; may be given again"],
    ],
    examples: ["deno task mutants", "deno task mutants --area files"],
  },
  faults: {
    summary:
      "Injects faults into everything that touches files, and checks that nothing is lost, silent or hangs.",
    flags: [
      ["--seconds N", "what all campaigns together take (default: 3600)"],
      ["--sample", "as the gate runs it: few cases of each, 100 seconds at most"],
      ["--seed N", "of what is injected when (default: 1)"],
      ["--only NAME", "one campaign; may be given again"],
      ["--case TEXT", "one case alone, as a violation names it"],
    ],
    examples: [
      "deno task faults",
      "deno task faults --only crash-points --seconds 300 --seed 7",
      'deno task faults --case "crash-points train 120 fail:28"',
    ],
  },
  symbols: {
    summary: "Writes the FFI side of csrc/include/meft.h anew.",
    flags: [["--check", "write nothing; fail when a file is stale"]],
    examples: ["deno task symbols", "deno task symbols --check"],
  },
  parity: {
    summary:
      "Trains the demo's model here and in PyTorch, compares all losses and logits, fails on a difference.",
    flags: [
      ["--steps N", "steps of each training (default: 50)"],
      ["--adapters N", "LoRAs of PEFT's options to draw, for both ways (default: 20)"],
      ["--seed N", "of that draw (default: 1)"],
      ["--json", "print the verdicts as JSON instead of a table"],
    ],
    examples: ["deno task parity", "MEFT_PYTHON=python3 deno task parity --steps 10"],
  },
  bench: {
    summary: "Measures kernels against the machine's limits, whole steps, and the same steps in PyTorch.",
    flags: [
      ["kernels, step, peers", "what is measured (default: these three)"],
      ["experts", "a mixture of experts beside the dense model of its active size"],
      ["gpu", "a 7B model on the CUDA device, beside PyTorch (hours when complete: see --minutes)"],
      ["--quick", "fewer rounds and sizes; of gpu a miniature, emulated where there is no device"],
      ["--rounds N", "rounds whose median counts (default: 7, quick 3; gpu has its own)"],
      ["--threads N", "CPU threads (default: all cores)"],
      ["--seed N", "of the order of measuring (default: 1)"],
      ["--only NAME", "one kernel, step or peer, or a part of a cell's name; may be given again"],
      ["--minutes N", "of gpu: begin no cell after so many; what decides the bars comes first"],
      ["--no-compile", "without torch.compile"],
    ],
    examples: [
      "deno task bench kernels --quick",
      "MEFT_PYTHON=python3 deno task bench peers",
      "deno task bench gpu --minutes 5",
    ],
  },
  "study:encoder": {
    summary:
      "Fine-tunes a real encoder on a real set by every method, here and in PyTorch: a table and a picture.",
    flags: [
      ["--no-peers", "without PyTorch"],
      ["--threads N", "CPU threads (default: all cores)"],
    ],
    examples: ["MEFT_PYTHON=python3 deno task study:encoder", "deno task study:encoder --no-peers"],
  },
  "study:reversible": {
    summary:
      "Fine-tunes real models by the reversible methods, an adapter of their size and in full: tables and a picture.",
    flags: [["--threads N", "CPU threads (default: all cores)"]],
    examples: ["deno task study:reversible"],
  },
  demo: {
    summary: "Makes the demo's model and data anew, which takes about 20 minutes.",
    flags: [],
    examples: ["deno task demo"],
  },
};

/** Prints the help of a task and ends the process when it was asked for. */
export function helpIfAsked(task: string): void {
  if (Deno.args[0] !== "--help" && Deno.args[0] !== "-h") return;
  const { summary, flags, examples } = TASK_HELP[task] as TaskHelp;
  const all = [...flags, ["-h, --help", "display this help"] as const];
  const width = Math.max(...all.map(([name]) => name.length));
  const lines = all.map(([name, meaning]) => `  ${name.padEnd(width)}  ${meaning}`);
  const calls = examples.map((example) => `  ${example}`);
  const usage = `Usage: deno task ${task} [options]`;
  console.log([usage, "", summary, "", "Options:", ...lines, "", "Examples:", ...calls].join("\n"));
  Deno.exit(0);
}
