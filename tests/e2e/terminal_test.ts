// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { COMMANDS } from "../../lib/cli/commands/registry.ts";
import { COMMON_FLAGS } from "../../lib/cli/program.ts";
import { TASK_HELP } from "../../scripts/help.ts";
import { withFolder } from "../fixtures/folder.ts";
import { DEMO_FACTS, DEMO_MODEL, runCommandLine, SMALL_RUN } from "./command.ts";
import { onTerminal } from "./pty.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

Deno.test("every command has a --help with its flags, and examples whose flags there are", async () => {
  for (const { name, flags, examples } of COMMANDS) {
    const { code, stdout, stderr } = await runCommandLine(name, "--help");
    deepStrictEqual([code, stderr], [0, ""]);
    match(stdout, new RegExp(`^Usage: deno task ${name} `));
    const known = [...flags, ...COMMON_FLAGS].map((flag) => `--${flag.name}`);
    for (const flag of known) {
      ok(stdout.includes(`${flag} `) || stdout.includes(`${flag}\n`), `${name}: ${flag}`);
    }
    ok(stdout.includes("\nExamples:\n") && examples.length > 0, name);
    for (const example of examples) {
      match(example, new RegExp(`deno task (--quiet )?${name}\\b`));
      ok(stdout.includes(`  ${example}\n`));
      const used = example.split(" && ")[0]?.match(/(?<=\s)--[a-z][a-z-]*/g) ?? [];
      for (const flag of used) ok(known.includes(flag), `${example}: ${flag}`);
    }
  }
});

Deno.test("every task of deno.json is a command or has its help, with examples", async () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
    tasks: Record<string, { command: string }>;
  };
  const commands = COMMANDS.map(({ name }) => name);
  for (const [task, { command }] of Object.entries(tasks)) {
    if (commands.includes(task)) {
      ok(command.endsWith(`scripts/meft.ts ${task}`), command);
      continue;
    }
    ok((TASK_HELP[task]?.examples.length ?? 0) > 0, `${task} has help`);
    const { code, stdout } = await runCommandLine(task, "--help");
    strictEqual(code, 0, task);
    match(stdout, new RegExp(`^Usage: deno task ${task} [^]*\nExamples:\n  `));
  }
  deepStrictEqual(commands.filter((name) => !(name in tasks)), []);
});

Deno.test("what is mistyped gets the nearest there is, and no command a list of them", async () => {
  const typo = await runCommandLine("preview", "--row", "2");
  strictEqual(typo.code, 2);
  match(typo.stderr, /unknown flag --row; did you mean --rows\?/);
  const command = await runCommandLine("trian");
  strictEqual(command.code, 2);
  match(command.stderr, /"trian" is no command; did you mean "train"\?/);
  const shell = await runCommandLine("completion", "bahs");
  strictEqual(shell.code, 2);
  match(shell.stderr, /the shell is "bahs", expected one of bash, zsh, fish; did you mean bash\?/);
  const none = await runCommandLine("--help");
  strictEqual(none.code, 0);
  for (const { name } of COMMANDS) match(none.stdout, new RegExp(`^deno task ${name} `, "m"));
});

Deno.test("preview is in colour on a terminal alone, and not where NO_COLOR is set", async () => {
  const preview = ["preview", "--rows", "1"];
  // deno-lint-ignore no-control-regex -- colours are what is looked for
  const colour = /\x1b\[[\d;]*m/;
  match(await onTerminal({}, preview), colour);
  doesNotMatch(await onTerminal({ NO_COLOR: "1" }, preview), colour);
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", `${ROOT}scripts/meft.ts`, ...preview],
  }).output();
  doesNotMatch(new TextDecoder().decode(stdout), colour);
});

Deno.test("--quiet prints nothing, --json one object on stdout, and train shows its options as flags", () =>
  withFolder(async (folder) => {
    const model = ["--model", DEMO_MODEL];
    const out = `${folder}/run`;
    const train = ["train", ...SMALL_RUN, "--steps", "2", "--out", out];
    const dry = await runCommandLine(...train, "--dry-run");
    strictEqual(dry.code, 0, dry.stderr);
    match(dry.stdout, /^ {2}active-experts +8$/m);
    match(dry.stdout, /^ {2}top-k +16$/m);
    doesNotMatch(dry.stdout, /topK|activeExperts|initStd/);
    const commands = [
      train,
      ["evaluate", ...model, "--data", DEMO_FACTS, "--limit", "3"],
      ["generate", ...model, "--prompt", "Question:", "--max-new-tokens", "2"],
      ["preview", ...model, "--data", DEMO_FACTS],
      ["merge", ...model, "--adapter", `${folder}/lora/adapter`, "--out", `${folder}/merged`],
      ["report", "--run", out],
      ["doctor"],
      ["completion", "bash"],
    ];
    const lora = [
      "train",
      ...model,
      "--data",
      DEMO_FACTS,
      "--method",
      "lora",
      "--steps",
      "1",
      "--examples",
      "0",
    ];
    strictEqual((await runCommandLine(...lora, "--seq-len", "64", "--out", `${folder}/lora`)).code, 0);
    // A study of many runs has its own tests.
    const all = COMMANDS.map(({ name }) => name).filter((name) => name !== "ablate");
    deepStrictEqual(commands.map(([name]) => name).sort(), all.sort());
    for (const command of commands) {
      const quiet = await runCommandLine(...command, "--quiet");
      deepStrictEqual({ ...quiet, command: command[0] }, {
        code: 0,
        stdout: "",
        stderr: "",
        command: command[0],
      });
      if (command === train) continue; // its folder is taken now
      if (command[0] === "merge") Deno.removeSync(`${folder}/merged`, { recursive: true });
      const { code, stdout } = await runCommandLine(...command, "--json");
      strictEqual(code, 0);
      strictEqual(stdout.trimEnd().split("\n").length, 1, `${command[0]} prints one line`);
      ok(typeof JSON.parse(stdout) === "object");
    }
  }));

Deno.test("evaluate --limit takes the loss of the first rows alone", () =>
  withFolder(async (folder) => {
    const rows = Deno.readTextFileSync(DEMO_FACTS).split("\n").slice(0, 3);
    Deno.writeTextFileSync(`${folder}/three.jsonl`, rows.map((row) => `${row}\n`).join(""));
    const lossOf = async (...args: string[]) => {
      const { stdout, stderr } = await runCommandLine("evaluate", "--model", DEMO_MODEL, ...args, "--json");
      const { loss, targets } = JSON.parse(stdout || stderr);
      return { loss, targets };
    };
    const limited = await lossOf("--data", DEMO_FACTS, "--limit", "3");
    deepStrictEqual(limited, await lossOf("--data", `${folder}/three.jsonl`));
    deepStrictEqual(
      await lossOf("--data", `${folder}/three.jsonl`, "--limit", "9"),
      limited,
      "more than there are is all of them",
    );
  }));
