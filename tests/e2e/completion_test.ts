// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { COMMANDS } from "../../lib/cli/commands/registry.ts";
import { formatCompletion, SHELLS } from "../../lib/cli/completion.ts";
import { withFolder } from "../fixtures/folder.ts";

/** What a shell says to a script on its standard input. */
async function runShell(
  command: string,
  args: readonly string[],
  script: string,
  cwd: string,
): Promise<string> {
  const child = new Deno.Command(command, {
    args: [...args],
    cwd,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { stdout, stderr } = await child.output();
  strictEqual(new TextDecoder().decode(stderr), "");
  return new TextDecoder().decode(stdout).trim();
}

/** Whether a shell is installed. */
function isMissing(shell: string): boolean {
  try {
    return !new Deno.Command(shell, { args: ["--version"], stdout: "null" }).outputSync().success;
  } catch {
    return true;
  }
}

/** A line as typed up to the Tab, and what must be offered. */
const CASES: readonly (readonly [string, readonly string[]])[] = [
  ["deno task train --gat", ["--gate"]],
  ["deno task train --gate s", ["sigmoid", "softmax"]],
  ["deno task evaluate --metric gsm", ["gsm8k", "gsm8k-flexible", "gsm8k-strict"]],
  ["deno task completion f", ["fish"]],
  ["deno task train --model mod", ["models/"]],
  ["deno task comp", ["completion"]],
];

function inBash(script: string): string {
  const asked = CASES.map(([line]) => {
    const words = line.split(" ").map((word) => `'${word}'`).join(" ");
    return `COMP_WORDS=(${words}); COMP_CWORD=${
      line.split(" ").length - 1
    }; COMPREPLY=(); _meft_task; echo "\${COMPREPLY[*]}"`;
  });
  return `${script}\n${asked.join("\n")}\n`;
}

for (const shell of ["bash", "fish"] as const) {
  Deno.test({
    name: `completion ${shell} offers flags, choices and files, and leaves what is not meft's alone`,
    ignore: isMissing(shell),
    fn: () =>
      withFolder(async (folder) => {
        Deno.mkdirSync(`${folder}/models`);
        const script = formatCompletion(shell, COMMANDS);
        const fishAsked = CASES.map(([line]) =>
          `echo (complete -C '${line}' | string replace -r '\\t.*' '')`
        );
        const answer = shell === "bash"
          ? await runShell("bash", ["--norc"], inBash(script), folder)
          : await runShell("fish", ["--no-config"], `${script}\n${fishAsked.join("\n")}\n`, folder);
        const found = answer.split("\n").map((line) => line.split(" ").sort());
        deepStrictEqual(
          found.map((words) => words.map((word) => word.replace(/^models$/, "models/"))),
          CASES.map(([, words]) => words),
        );
      }),
  });
}

Deno.test("completion bash asks what completed deno before about everything else", () =>
  withFolder(async (folder) => {
    const before = "_deno() { COMPREPLY=(from-deno); }; complete -F _deno -o default deno\n";
    const script = formatCompletion("bash", COMMANDS);
    const ask = (words: string, at: number) =>
      `COMP_WORDS=(${words}); COMP_CWORD=${at}; COMPREPLY=(); _meft_task; echo "\${COMPREPLY[*]}"\n`;
    // Twice, as when a start file is read again.
    const answer = await runShell(
      "bash",
      ["--norc"],
      before + script + script + ask("deno run --al", 2) + ask("deno task bench --qu", 3) +
        ask("deno task preview --ro", 3),
      folder,
    );
    deepStrictEqual(answer.split("\n"), ["from-deno", "from-deno", "--rows"]);
  }));

Deno.test({
  name: "completion zsh is a script that zsh can read",
  ignore: isMissing("zsh"),
  fn: () =>
    withFolder(async (folder) => {
      strictEqual(await runShell("zsh", ["-n"], formatCompletion("zsh", COMMANDS), folder), "");
    }),
});

Deno.test("completion names every flag of every command in every shell", () => {
  for (const shell of SHELLS) {
    const script = formatCompletion(shell, COMMANDS);
    for (const { name, flags } of COMMANDS) {
      ok(script.includes(name));
      for (const flag of flags) {
        ok(
          script.includes(shell === "fish" ? `-l ${flag.name} ` : `--${flag.name}`),
          `${shell}: --${flag.name}`,
        );
      }
    }
  }
});
