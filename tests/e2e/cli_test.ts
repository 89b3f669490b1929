// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { DEMO_FACTS, DEMO_MODEL, runCommandLine, SMALL_RUN, smallRunWith, spawn } from "./command.ts";
import { withFolder } from "../fixtures/folder.ts";

/** Lines of a JSONL text. */
function jsonLines(text: string): Record<string, unknown>[] {
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** Names in a folder, sorted. */
function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** What a process has computed so far, whatever else the machine does: user time, in hundredths in the 14th field. */
function cpuSeconds(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /, "").split(" ");
  return Number(fields[11]) / 100;
}

Deno.test("train writes its run folder, and evaluate and generate use the adapter", () =>
  withFolder(async (folder) => {
    const out = `${folder}/run`;
    const trained = await runCommandLine(
      ...[
        "train",
        ...SMALL_RUN,
        "--steps",
        "40",
        "--save-every",
        "20",
        "--lr",
        "2e-3",
        "--eval-data",
        DEMO_FACTS,
      ],
      ...["--out", out, "--json"],
    );
    strictEqual(trained.code, 0, trained.stderr);
    strictEqual(trained.stdout.trimEnd().split("\n").length, 1, "stdout carries one JSON object alone");
    const result = JSON.parse(trained.stdout);
    for (
      const key of [
        "steps",
        "tokens",
        "lossFirst",
        "lossLast",
        "tokensPerSecond",
        "adapterParameters",
        "trainableFraction",
        "peakHostBytes",
        "peakDeviceBytes",
      ]
    ) ok(Number.isFinite(result[key]), `${key} is ${result[key]}`);
    strictEqual(result.steps, 40);
    strictEqual(result.out, out);

    deepStrictEqual(names(out), [
      "adapter",
      "checkpoints",
      "examples.json",
      "metrics.jsonl",
      "report.html",
      "run.json",
    ]);
    deepStrictEqual(names(`${out}/checkpoints`), ["step-000020", "step-000040"]);
    deepStrictEqual(names(`${out}/adapter`), ["adapter_config.json", "adapter_model.safetensors"]);
    strictEqual(JSON.parse(Deno.readTextFileSync(`${out}/adapter/adapter_config.json`)).peft_type, "MEFT");
    const metrics = jsonLines(Deno.readTextFileSync(`${out}/metrics.jsonl`));
    deepStrictEqual(metrics.map(({ step }) => step), Array.from({ length: 40 }, (_, i) => i + 1));
    for (const key of ["loss", "tokens", "lr", "gradNorm", "tokensPerSecond", "activeNeurons", "adapterMs"]) {
      ok(metrics.every((line) => Number.isFinite(line[key])), `every line has ${key}`);
    }

    const model = ["--model", DEMO_MODEL, "--adapter", `${out}/adapter`];
    const evaluate = async (...args: string[]) => {
      const evaluated = await runCommandLine("evaluate", ...model, "--data", DEMO_FACTS, "--json", ...args);
      strictEqual(evaluated.code, 0, evaluated.stderr);
      return JSON.parse(evaluated.stdout);
    };
    const { loss } = await evaluate("--metric", "loss");
    ok(Math.abs(loss - result.eval.loss) <= 1e-3 * result.eval.loss, `${loss} is not ${result.eval.loss}`);
    const scores = await evaluate(
      ...["--metric", "exact-match", "f1", "--limit", "8", "--max-new-tokens", "8"],
    );
    strictEqual(scores.scores["exact-match"].count, 8);
    const base = await runCommandLine("evaluate", "--model", DEMO_MODEL, "--data", DEMO_FACTS, "--json");
    strictEqual(base.code, 0, base.stderr);
    const baseLoss = JSON.parse(base.stdout).loss;
    ok(loss < 0.97 * baseLoss, `the adapter took the loss from ${baseLoss} to ${loss} only`);

    const generated = await runCommandLine(
      "generate",
      ...model,
      "--prompt",
      "Question:",
      "--max-new-tokens",
      "4",
      "--json",
    );
    strictEqual(generated.code, 0, generated.stderr);
    strictEqual(JSON.parse(generated.stdout).tokens, 4);
  }));

Deno.test("train stopped by SIGINT saves, exits with 130, and resumed ends in the bytes of a run left alone", () =>
  withFolder(async (folder) => {
    const flags = ["train", ...SMALL_RUN, "--steps", "60", "--lr", "2e-3"];
    const whole = await runCommandLine(...flags, "--out", `${folder}/whole`);
    strictEqual(whole.code, 0, whole.stderr);

    const child = spawn([...flags, "--out", `${folder}/parts`]);
    const metrics = `${folder}/parts/metrics.jsonl`;
    const linesWritten = () => {
      try {
        return Deno.readTextFileSync(metrics).split("\n").length - 1;
      } catch {
        return 0;
      }
    };
    const finished = child.output();
    while (linesWritten() < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGINT");
    const { code, stderr } = await finished;
    strictEqual(code, 130, new TextDecoder().decode(stderr));
    ok(linesWritten() < 60, "the run ended before the signal came");
    strictEqual(names(`${folder}/parts/checkpoints`).length, 1);

    const resumed = await runCommandLine(...flags, "--out", `${folder}/parts`, "--resume");
    strictEqual(resumed.code, 0, resumed.stderr);
    const bytes = (run: string) => Deno.readFileSync(`${folder}/${run}/adapter/adapter_model.safetensors`);
    assertSame(bytes("parts"), bytes("whole"));
    deepStrictEqual(
      jsonLines(Deno.readTextFileSync(metrics)).map(({ step }) => step),
      Array.from({ length: 60 }, (_, i) => i + 1),
    );
  }));

Deno.test("train ended by a second Ctrl-C is gone at once, with 130, in the middle of its step and without saving", () =>
  withFolder(async (folder) => {
    // A step of many seconds, on one thread of any machine: what ends before it does has not waited for it.
    const data = `${folder}/many.jsonl`;
    await Deno.writeTextFile(data, Deno.readTextFileSync(DEMO_FACTS).repeat(20));
    const long = smallRunWith({ data, "batch-size": "5000" });
    const child = spawn(
      [
        "train",
        ...long,
        "--micro-batch-size",
        "250",
        "--threads",
        "1",
        "--examples",
        "0",
        "--out",
        `${folder}/run`,
      ],
    );
    const finished = child.output();
    while (!names(folder).includes("run") || !names(`${folder}/run`).includes("run.json")) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // What comes before the step takes about a second of the process's time, the step ten times that and more.
    const underWay = cpuSeconds(child.pid) + 3;
    while (cpuSeconds(child.pid) < underWay) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 700)); // later than one key press comes twice
    const pressedMs = performance.now();
    child.kill("SIGINT");
    const { code, stdout } = await finished;
    strictEqual(code, 130);
    ok(performance.now() - pressedMs < 5000);
    match(
      new TextDecoder().decode(stdout),
      /Stopping after this step; press Ctrl-C again to leave without saving/,
    );
    strictEqual(Deno.readTextFileSync(`${folder}/run/metrics.jsonl`), "", "no step has ended");
    ok(!names(`${folder}/run`).includes("adapter"));
  }));

Deno.test("train goes on when nobody reads its text any more, and saves when the terminal is closed", () =>
  withFolder(async (folder) => {
    const start = (out: string, steps: string): Deno.ChildProcess =>
      spawn(["train", ...SMALL_RUN, "--steps", steps, "--out", `${folder}/${out}`]);
    const unread = start("unread", "6");
    await unread.stdout.cancel();
    const { code, stderr } = await unread.output();
    strictEqual(code, 0, new TextDecoder().decode(stderr));
    ok(names(`${folder}/unread`).includes("adapter"));

    const closed = start("closed", "100000");
    const text = closed.stdout.getReader();
    const decoder = new TextDecoder();
    for (let seen = ""; !seen.includes("training 1/");) {
      const { value, done } = await text.read();
      if (done) break;
      seen += decoder.decode(value);
    }
    await text.cancel();
    closed.kill("SIGHUP");
    strictEqual((await closed.status).code, 130);
    await closed.stderr.cancel();
    strictEqual(names(`${folder}/closed/checkpoints`).length, 1);
  }));

Deno.test({
  name: "doctor whose text has nowhere to go does its work, says so, and exits with 1",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const child = new Deno.Command("sh", {
      args: ["-c", `exec "$0" run --quiet --allow-all scripts/meft.ts doctor > /dev/full`, Deno.execPath()],
      stderr: "piped",
    });
    const { code, stderr } = await child.output();
    strictEqual(code, 1);
    match(new TextDecoder().decode(stderr), /^Some of the text above could not be written: .*No space left/);
  },
});

Deno.test({
  name: "doctor whose JSON has nowhere to go says so, and exits with 1: no other flag would mend it",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const child = new Deno.Command("sh", {
      args: [
        "-c",
        `exec "$0" run --quiet --allow-all scripts/meft.ts doctor --json > /dev/full`,
        Deno.execPath(),
      ],
      stderr: "piped",
    });
    const { code, stderr } = await child.output();
    match(
      new TextDecoder().decode(stderr),
      /^The work is done, but its JSON object could not be written: No space left on device \(os error 28\)$/m,
    );
    strictEqual(code, 1);
  },
});

Deno.test("train lists all mistakes of the command line and the config file, and exits with 2", () =>
  withFolder(async (folder) => {
    const config = `${folder}/config.json`;
    await Deno.writeTextFile(config, JSON.stringify({ topK: 8, neuron: 4 }));
    const { code, stdout, stderr } = await runCommandLine(
      ...["train", "--lrr", "1", "--top-k", "many", "--gate", "rwa", "--config", config, "--json"],
    );
    strictEqual(code, 2);
    const { error, exitCode } = JSON.parse(stdout);
    deepStrictEqual([error.kind, error.problems.length, exitCode], ["user", 4, 2]);
    match(stderr, /4 problems/);
    match(stderr, /unknown flag --lrr; did you mean --lr\?/);
    match(stderr, /--top-k is "many"/);
    match(stderr, /did you mean raw\?/);
    match(stderr, /unknown key "neuron"; did you mean "neurons"\?/);
  }));

Deno.test("train refuses flags of other methods, sizes that do not fit, and a folder that is taken", () =>
  withFolder(async (folder) => {
    const foreign = await runCommandLine("train", ...SMALL_RUN, "--method", "full", "--placement", "device");
    strictEqual(foreign.code, 2);
    match(foreign.stderr, /--neurons does not apply to --method full/);
    match(foreign.stderr, /--placement does not apply to --method full/);

    const sizes = await runCommandLine(
      "train",
      ...smallRunWith({ "seq-len": "4096" }),
      "--experts",
      "7",
      "--out",
      `${folder}/a`,
    );
    strictEqual(sizes.code, 2);
    match(sizes.stderr, /experts is 7, which does not divide neurons = 64: use experts 4 or 8/);
    match(sizes.stderr, /512 positions/);
    strictEqual(names(folder).length, 0, "nothing was written");

    const first = await runCommandLine(
      "train",
      ...SMALL_RUN,
      "--steps",
      "1",
      "--out",
      `${folder}/b`,
      "--quiet",
    );
    strictEqual(first.code, 0, first.stderr);
    strictEqual(first.stdout, "");
    const second = await runCommandLine("train", ...SMALL_RUN, "--steps", "1", "--out", `${folder}/b`);
    strictEqual(second.code, 2);
    match(second.stderr, /already holds a run/);
  }));

Deno.test("train refuses what cannot fit into memory, and a dry run says so", () =>
  withFolder(async (folder) => {
    const flags = [
      "train",
      ...smallRunWith({ neurons: String(2 ** 40) }),
      "--steps",
      "1",
      "--out",
      `${folder}/run`,
    ];
    const refused = await runCommandLine(...flags);
    strictEqual(refused.code, 2);
    match(
      refused.stderr,
      /^Not on this machine: the run needs .* TiB of host memory .* are free: /,
    );
    deepStrictEqual(names(folder), []);
    const dry = await runCommandLine(...flags, "--dry-run");
    strictEqual(dry.code, 0, dry.stderr);
    match(dry.stdout, /^Not on this machine: the run needs /m);
  }));

Deno.test("train names file, line and reason of bad rows, and skips them only when asked", () =>
  withFolder(async (folder) => {
    const data = `${folder}/rows.jsonl`;
    const good = Array.from({ length: 8 }, (_, i) => JSON.stringify({ prompt: `p${i}`, completion: " c" }));
    await Deno.writeTextFile(
      data,
      [...good, "{broken", '{"prompt":"p","completion":""}', '{"prompt":1}', ""].join("\n"),
    );
    const flags = [
      "train",
      "--model",
      DEMO_MODEL,
      "--data",
      data,
      "--neurons",
      "16",
      "--steps",
      "1",
      "--json",
    ];
    const stopped = await runCommandLine(...flags, "--out", `${folder}/stopped`);
    strictEqual(stopped.code, 2);
    match(stopped.stderr, /3 of 11 rows cannot be used/);
    for (const line of [9, 10, 11]) match(stopped.stderr, new RegExp(`rows\\.jsonl:${line}: `));
    const skipped = await runCommandLine(...flags, "--out", `${folder}/skipped`, "--bad-rows", "skip");
    strictEqual(skipped.code, 0, skipped.stderr);
    const { data: counts } = JSON.parse(Deno.readTextFileSync(`${folder}/skipped/run.json`));
    deepStrictEqual([counts.rowsRead, counts.rowsUsed, counts.badRows], [11, 8, 3]);
  }));

Deno.test("evaluate refuses an adapter that is cut short, and warns of one of another model unless forced", () =>
  withFolder(async (folder) => {
    const trained = await runCommandLine("train", ...SMALL_RUN, "--steps", "1", "--out", `${folder}/run`);
    strictEqual(trained.code, 0, trained.stderr);
    const adapter = `${folder}/run/adapter`;
    const evaluate = (...more: string[]) =>
      runCommandLine("evaluate", "--model", DEMO_MODEL, "--adapter", adapter, "--data", DEMO_FACTS, ...more);

    const configPath = `${adapter}/adapter_config.json`;
    const config = await Deno.readTextFile(configPath);
    await Deno.writeTextFile(
      configPath,
      config.replace(/"base_model_hash": "\w{8}/, '"base_model_hash": "00000000'),
    );
    const other = await evaluate("--json");
    strictEqual(other.code, 0, other.stderr);
    match(other.stderr, /Warning: .* was trained on .* \(hash 00000000\w{4}\), not on .* \(hash \w{12}\)/);
    const forced = await evaluate("--force", "--json");
    strictEqual(forced.code, 0);
    doesNotMatch(forced.stderr, /Warning/);
    deepStrictEqual(JSON.parse(forced.stdout), JSON.parse(other.stdout));

    const tensors = `${adapter}/adapter_model.safetensors`;
    await Deno.truncate(tensors, Deno.statSync(tensors).size - 100);
    const cut = await evaluate("--force");
    strictEqual(cut.code, 2);
    match(cut.stderr, /adapter_model\.safetensors/);
  }));

Deno.test("preview shows tokens and mask, dry runs write nothing, doctor finds the library and lists methods", () =>
  withFolder(async (folder) => {
    const preview = await runCommandLine(
      "preview",
      "--model",
      DEMO_MODEL,
      "--data",
      DEMO_FACTS,
      "--rows",
      "1",
    );
    strictEqual(preview.code, 0, preview.stderr);
    match(preview.stdout, /facts\.jsonl:1 .* targets/);
    match(preview.stdout, /⟦.*⟧/);
    const dry = await runCommandLine("train", ...SMALL_RUN, "--out", `${folder}/run`, "--dry-run", "--json");
    strictEqual(dry.code, 0, dry.stderr);
    ok(JSON.parse(dry.stdout).memory.totalBytes > 0);
    strictEqual(names(folder).length, 0);
    const doctor = await runCommandLine("doctor", "--json");
    strictEqual(doctor.code, 0, doctor.stderr);
    strictEqual(JSON.parse(doctor.stdout).usable, true);
    const methods = await runCommandLine("doctor", "--methods", "--model", DEMO_MODEL, "--json");
    strictEqual(methods.code, 0, methods.stderr);
    const listed: { method: string; trainedParameters: number }[] = JSON.parse(methods.stdout).methods;
    ok(listed.length >= 3 && listed.every(({ trainedParameters }) => trainedParameters > 0), methods.stdout);
    for (const { method } of listed) match(methods.stderr, new RegExp(`^${method} `, "m"));
  }));
