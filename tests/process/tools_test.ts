// SPDX-License-Identifier: Apache-2.0
/** Programs outside this process, in a folder of our own on the search path. */
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  BUILD_TOOLS,
  denoProgram,
  firstCommand,
  installText,
  missingTools,
  missingToolsText,
  outputOf,
  startProgram,
} from "../../lib/native/tools.ts";
import { withFolder } from "../fixtures/folder.ts";

/** Programs by name and what they do; anything else on the path is not found. */
function withPrograms(
  programs: Readonly<Record<string, string>>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  return withFolder(async (folder) => {
    for (const [name, script] of Object.entries(programs)) {
      Deno.writeTextFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
    const before = Deno.env.get("PATH") ?? "";
    Deno.env.set("PATH", folder);
    try {
      await body(folder);
    } finally {
      Deno.env.set("PATH", before);
    }
  });
}

Deno.test("firstCommand() is the first that runs with --version; outputOf() is what it says, or null", () =>
  withPrograms({ fails: "exit 3", says: `echo "$1"`, later: "exit 0" }, async (folder) => {
    assert.equal(await firstCommand(["absent", "fails", "says", "later"]), "says");
    assert.equal(await firstCommand(["absent", "fails"]), null);
    assert.equal(await outputOf("says", ["--version"]), "--version\n");
    assert.equal(await outputOf("fails", []), null);
    assert.equal(await outputOf("absent", []), null);
    Deno.writeTextFileSync(join(folder, "no_program"), "text", { mode: 0o644 });
    assert.equal(await outputOf("no_program", []), null);
  }));

Deno.test("missingTools() names each tool of which no command runs, and one command gets them all", () =>
  withPrograms({ cmake: "exit 0", "clang++": "exit 0" }, async () => {
    const missing = await missingTools();
    assert.deepEqual(missing, [BUILD_TOOLS[2]]);
    const all = await missingTools([{ commands: ["a", "b"], debianPackage: "p" }, ...missing]);
    assert.equal(
      missingToolsText(all),
      "a or b, ninja or make not found. On Debian or Ubuntu: apt-get install -y p ninja-build",
    );
    assert.equal(installText(["x"]), "apt-get install -y x");
  }));

Deno.test("startProgram() starts what may run, and denoProgram() is a name that may", async () => {
  const { success } = await startProgram("true", {}).status;
  assert.equal(success, true);
  assert.throws(() => startProgram("/nowhere/program", {}), Deno.errors.NotFound);
  assert.equal(denoProgram(), Deno.execPath());
});

Deno.test("startProgram() starts what may be named though variables of the loader are set, and nothing else", () =>
  withFolder(async (folder) => {
    const path = join(folder, "start.ts");
    Deno.writeTextFileSync(
      path,
      `import { outputOf, startProgram } from "${new URL("../../lib/native/tools.ts", import.meta.url)}";
       const child = startProgram("env", { stdout: "piped", env: { GIVEN: "here" } });
       const said = new TextDecoder().decode((await child.output()).stdout).split("\\n");
       console.log(said.filter((line) => /^(LD_LIBRARY_PATH|GIVEN)/.test(line)).toSorted().join());
       try { startProgram("sh", {}); } catch (error) { console.log(error.name); }
       console.log(await outputOf("sh", []));`,
    );
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--allow-run=env", path],
      env: { LD_LIBRARY_PATH: "/nowhere", NO_COLOR: "1" },
    }).output();
    const decoder = new TextDecoder();
    assert.equal(
      decoder.decode(stdout),
      "GIVEN=here,LD_LIBRARY_PATH=\nNotCapable\nnull\n",
      decoder.decode(stderr),
    );
  }));
