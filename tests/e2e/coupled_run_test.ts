// SPDX-License-Identifier: Apache-2.0
/** Runs of coupled layers on the command line, from training to what can be done with their adapters. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../compare.ts";
import { withFolder } from "../fixtures/folder.ts";
import { adapterBytes, backTo, DEMO_FACTS, DEMO_MODEL, DEMO_ROWS, runCommandLine } from "./command.ts";

const RUN = [
  ...[
    "train",
    ...DEMO_ROWS,
    "--examples",
    "0",
    "--batch-size",
    "8",
    "--micro-batch-size",
    "4",
    "--clip",
    "0.5",
  ],
  ...["--lr", "2e-3", "--steps", "4", "--save-every", "2"],
];
const REVERSIBLE = ["--activations", "reversible"];

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommandLine(...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

async function refusal(...args: string[]): Promise<string> {
  const { code, stderr } = await runCommandLine(...args);
  assert.equal(code, 2, stderr);
  return stderr;
}

/** Every way to have the same two streams is of the same bits; those of `meft2` beside rows in host memory. */
const WAYS: Readonly<Record<string, readonly string[]>> = {
  meft1: ["--method", "meft1"],
  meft2: ["--method", "sparse", "--wiring", "meft2", "--neurons", "64", "--top-k", "16"],
  meft3: ["--method", "meft3"],
};

for (const [wiring, method] of Object.entries(WAYS)) {
  Deno.test(`${wiring}: a run is undone to the bits of one that is stored, and goes on where it was stopped`, () =>
    withFolder(async (folder) => {
      const [stored, undone] = [join(folder, "stored"), join(folder, "undone")];
      await run(...RUN, ...method, "--out", stored);
      await run(...RUN, ...method, ...REVERSIBLE, "--anchor-every", "2", "--out", undone);
      assertSame(adapterBytes(undone), adapterBytes(stored));
      await backTo(undone, 2);
      await run("train", "--resume", "--out", undone);
      assertSame(adapterBytes(undone), adapterBytes(stored), "resumed");
    }));
}

Deno.test("a coupled run's adapter is scored and decoded as it was trained; merging it is refused by name", () =>
  withFolder(async (folder) => {
    const out = join(folder, "run");
    const trained = await run(
      ...RUN,
      "--method",
      "meft1",
      ...REVERSIBLE,
      "--eval-data",
      DEMO_FACTS,
      "--json",
      "--out",
      out,
    );
    const adapter = join(out, "adapter");
    const scored = JSON.parse(
      await run(
        "evaluate",
        "--adapter",
        adapter,
        "--data",
        DEMO_FACTS,
        "--seq-len",
        "64",
        "--metric",
        "loss",
        "--json",
      ),
    );
    const evalLoss = JSON.parse(trained).eval.loss as number;
    assert.ok(
      Math.abs(scored.loss - evalLoss) <= 1e-6 * evalLoss,
      `${scored.loss}, training said ${evalLoss}`,
    );
    const prompt = [
      "--prompt",
      "What is the capital of France?",
      "--max-new-tokens",
      "5",
      "--temperature",
      "0",
    ];
    const text = await run("generate", "--adapter", adapter, ...prompt);
    assert.ok(text.trim().length > 0);
    assert.match(
      await refusal("merge", "--adapter", adapter, "--out", join(folder, "merged")),
      /coupled|coupling|meft1/,
    );
    await assert.rejects(Deno.stat(join(folder, "merged")), Deno.errors.NotFound);
  }));

Deno.test("a grid goes over wirings and coefficients", () =>
  withFolder(async (folder) => {
    const out = join(folder, "study");
    await run(
      ...[
        "ablate",
        ...DEMO_ROWS,
        "--method",
        "bottleneck",
        "--steps",
        "2",
        "--batch-size",
        "4",
        "--metric",
        "none",
      ],
      ...["--grid", "wiring=meft1,meft3", "--grid", "lambda=0.0078125,0.03125", "--out", out],
    );
    const cells = Deno.readTextFileSync(join(out, "results.jsonl")).trimEnd().split("\n").map((line) =>
      JSON.parse(line)
    );
    assert.equal(cells.length, 4);
    assert.ok(cells.every(({ error }) => (error ?? null) === null));
  }));

Deno.test("streams without room end the run by a message that says the layer, the value and the way out", () =>
  withFolder(async (folder) => {
    const out = join(folder, "run");
    const { code, stderr } = await runCommandLine(
      ...[...RUN, "--method", "meft1", ...REVERSIBLE, "--fraction-bits", "30", "--out", out],
    );
    assert.notEqual(code, 0);
    assert.match(
      stderr,
      /^Layer 0 reaches \d+\.\d+, and int32 with 30 fractional bits holds less than 2; nothing was changed/,
    );
    assert.match(stderr, /--fraction-bits/);
  }));

Deno.test("streams of floats are trained with anchors; a coefficient that exact streams cannot have is refused", () =>
  withFolder(async (folder) => {
    const floats = ["--method", "meft1", "--streams", "f32", "--lambda", "0.1"];
    await run(...RUN, ...floats, ...REVERSIBLE, "--anchor-every", "1", "--out", join(folder, "run"));
    assert.match(
      await refusal(
        ...RUN,
        "--method",
        "meft1",
        "--lambda",
        "0.1",
        "--out",
        join(folder, "none"),
        "--model",
        DEMO_MODEL,
      ),
      /lambda is 0\.1/,
    );
  }));
