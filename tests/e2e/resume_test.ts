// SPDX-License-Identifier: Apache-2.0
/** `train --resume` on the command line: what it needs, what may change, and what is refused before anything is read. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../compare.ts";
import { withFolder } from "../fixtures/folder.ts";
import { adapterBytes, backTo, DEMO_FACTS, DEMO_MODEL, ROOT, runCommandLine, SMALL_RUN } from "./command.ts";

const RUN = [...SMALL_RUN, "--examples", "0", "--batch-size", "8", "--micro-batch-size", "4", "--lr", "2e-3"];

async function train(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommandLine("train", ...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

Deno.test("train --resume --out needs no other flag, from another folder too, and ends in the same bytes", () =>
  withFolder(async (folder) => {
    const [whole, out] = [join(folder, "whole"), join(folder, "run")];
    await Deno.copyFile(DEMO_FACTS, join(folder, "facts.jsonl"));
    const flags = [...RUN, "--data", "facts.jsonl", "--steps", "6", "--save-every", "2", "--dtype", "auto"];
    for (const place of ["whole", "run"]) {
      const started = await new Deno.Command(Deno.execPath(), {
        // Not as a task, which is always started in the checkout.
        args: ["run", "--quiet", "--allow-all", `${ROOT}scripts/meft.ts`, "train", ...flags, "--out", place],
        cwd: folder, // its data and its folder are named from here
      }).output();
      assert.equal(started.code, 0, new TextDecoder().decode(started.stderr));
    }
    await backTo(out, 2);
    const said = JSON.parse(await train("--resume", "--out", out, "--json"));
    assert.equal(said.steps, 6);
    assertSame(adapterBytes(out), adapterBytes(whole));
  }));

Deno.test("train --resume takes more epochs and another micro-batch size, and refuses all else by name", () =>
  withFolder(async (folder) => {
    const out = join(folder, "run");
    await train(...RUN, "--steps", "4", "--out", out);
    const refused = await runCommandLine(
      ...[
        "train",
        "--resume",
        "--out",
        out,
        "--lr",
        "0.1",
        "--top-k",
        "3",
        "--seq-len",
        "32",
        "--steps",
        "2",
      ],
      ...["--data", join(folder, "nowhere.jsonl")], // not looked for before the flags are judged
    );
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /has 4 problems/);
    for (
      const said of [
        "--lr is 0.1, the run has 0.002: leave",
        "--top-k is 3, the run has",
        "--seq-len is 32, the",
        "have 2 steps, but has taken 4 already",
      ]
    ) {
      assert.ok(refused.stderr.includes(said), refused.stderr);
    }
    const other = await runCommandLine("train", "--resume", "--out", out, "--method", "lora");
    assert.equal(other.code, 2);
    assert.match(
      other.stderr,
      /--method is lora, the run has sparse: leave it as it was, or begin a new run/,
    );

    await train("--resume", "--out", out, "--steps", "6", "--micro-batch-size", "8");
    const said = JSON.parse(
      await train("--resume", "--out", out, "--epochs", "1", "--save-every", "30", "--json"),
    );
    const { history, flags } = JSON.parse(Deno.readTextFileSync(join(out, "run.json")));
    assert.deepEqual(history.map(({ step }: { step: number }) => step), [4, 6]);
    assert.deepEqual(history[0].changed.steps, [4, 6]);
    assert.deepEqual(history[0].changed["batch.micro"], [4, 8]);
    assert.deepEqual(history[1].changed.totalSteps, [6, said.steps]);
    assert.equal(flags.steps, undefined);
  }));

Deno.test("train --resume says where it goes on, that all is done, and what to do without a whole run.json", () =>
  withFolder(async (folder) => {
    const out = join(folder, "run");
    await train(...RUN, "--steps", "2", "--out", out);
    const newest = join(out, "checkpoints", "step-000002");
    const done = await train("--resume", "--out", out);
    assert.ok(done.includes(`\ngoing on from ${newest}\n`), done);
    assert.match(done, /^steps +2, all taken before: more --steps or --epochs would go on$/m);
    assert.doesNotMatch(done, /^loss/m);

    const record = join(out, "run.json");
    const ways: [string, RegExp][] = [
      [
        "{",
        /run\.json is not JSON: .*; remove the file, and resume with all flags that the run was started with\n$/,
      ],
      [
        "[1]",
        /run\.json does not say what the run was started with: give --resume --model, --data and all its other/,
      ],
    ];
    for (const [text, said] of ways) {
      await Deno.writeTextFile(record, text);
      const { code, stderr } = await runCommandLine("train", "--resume", "--out", out);
      assert.match(stderr, said);
      assert.equal(code, 2);
    }
    await Deno.remove(record);
    const missing = await runCommandLine("train", "--resume", "--out", out);
    assert.match(missing.stderr, /run\.json does not say what the run was started with/);
    assert.match(await train("--resume", "--out", out, ...RUN, "--steps", "3"), /^steps +3$/m);
  }));

Deno.test("a checkpoint that may not be read is not called damaged", () =>
  withFolder(async (folder) => {
    const out = join(folder, "run");
    await train(...RUN, "--steps", "1", "--out", out);
    const manifest = join(out, "checkpoints", "step-000001", "manifest.json");
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      // Who runs the tests may be root, whom no mode of a file keeps out.
      args: [
        ...["run", "--quiet", "--no-prompt", "--allow-all", `--deny-read=${manifest}`, "scripts/meft.ts"],
        ...["train", "--resume", "--out", out, "--steps", "2"],
      ],
      cwd: ROOT,
      stdout: "null",
    }).output();
    const text = new TextDecoder().decode(stderr);
    assert.ok(text.startsWith(`Cannot read ${manifest}: `), text);
    assert.doesNotMatch(text, /damaged|start the run again/);
    assert.equal(code, 2);
  }));

const METHODS = [
  [...RUN, "--schedule", "cosine", "--clip", "0", "--packing", "--gate", "softmax"],
  [
    ...["--model", DEMO_MODEL, "--data", DEMO_FACTS, "--method", "lora", "--rank", "2", "--target", "q,v"],
    ...[
      "--rank-pattern",
      "q_proj=3",
      "--seq-len",
      "64",
      "--batch-size",
      "8",
      "--chat-template",
      "off",
      "--examples",
      "0",
    ],
  ],
];

for (const flags of METHODS) {
  Deno.test(`train --resume --out takes the run of a version that wrote no flags down: ${flags.at(-1)}`, () =>
    withFolder(async (folder) => {
      const out = join(folder, "run");
      await train(...flags, "--steps", "4", "--save-every", "2", "--out", out);
      const bytes = adapterBytes(out);
      await backTo(out, 2);
      const { flags: _, cwd: __, history: ___, ...record } = JSON.parse(
        Deno.readTextFileSync(join(out, "run.json")),
      );
      await Deno.writeTextFile(join(out, "run.json"), JSON.stringify(record));
      await train("--resume", "--out", out);
      assertSame(adapterBytes(out), bytes);
    }));
}

Deno.test("train says that a folder holds a run before it opens the model or reads data", () =>
  withFolder(async (folder) => {
    const checkpoint = join(folder, "checkpoints", "step-000030");
    await Deno.mkdir(checkpoint, { recursive: true });
    const nowhere = ["--model", join(folder, "no-model"), "--data", join(folder, "no-data")];
    const { code, stderr } = await runCommandLine("train", ...nowhere, "--out", folder);
    assert.equal(code, 2);
    assert.equal(
      stderr,
      `${folder} already holds a run (checkpoints/step-000030): resume it (--resume), choose another folder (--out), ` +
        "or remove this one\n",
    );
  }));
