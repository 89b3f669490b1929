// SPDX-License-Identifier: Apache-2.0
/** What the tasks for people who work on meft count and refuse. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { textProblems } from "../../../scripts/check_levels.ts";
import { addCounts, formatCounts } from "../../../scripts/counts.ts";
import { TASK_HELP } from "../../../scripts/help.ts";
import { readCounts } from "../../../scripts/test.ts";
import { withFolder } from "../../fixtures/folder.ts";

const ROOT = new URL("../../../", import.meta.url);
const HEAD = "// SPDX-License-Identifier: Apache-2.0\n";

Deno.test("readCounts() finds what deno test says at its end, with and without steps and ignored ones", () => {
  const counts = (passed: number, failed: number, skipped: number) => ({ passed, failed, skipped });
  assert.deepEqual(readCounts("ok | 12 passed | 0 failed (3s)\n"), counts(12, 0, 0));
  assert.deepEqual(
    readCounts("FAILED | 12 passed (4 steps) | 2 failed (1 step) | 3 ignored (3s)"),
    counts(12, 2, 3),
  );
  assert.deepEqual(readCounts("ok | 1 passed | 0 failed | 7 ignored | 2 filtered out"), counts(1, 0, 7));
  assert.deepEqual(readCounts("error: no such file"), counts(0, 0, 0));
});

Deno.test("counts are added each to its own and said in one line", () => {
  const sum = addCounts({ passed: 1, failed: 20, skipped: 300 }, {
    passed: 4000,
    failed: 50000,
    skipped: 600000,
  });
  assert.deepEqual(sum, { passed: 4001, failed: 50020, skipped: 600300 });
  assert.equal(formatCounts(sum), "4001 passed, 50020 failed, 600300 skipped");
});

Deno.test("textProblems() wants a licence, a reason for long files, FFI and files in their folders", () => {
  const lines = (count: number) => HEAD + "a;\n".repeat(count - 1);
  assert.deepEqual(textProblems("lib/core/a.ts", lines(400)), []);
  assert.deepEqual(textProblems("scripts/a.ts", lines(401)), [
    'scripts/a.ts has 401 lines, more than 400, and gives no "// size:" reason',
  ]);
  assert.deepEqual(textProblems("lib/core/a.ts", `${lines(401)}// size: a table\n`), []);
  assert.deepEqual(textProblems("csrc/a.cpp", "int a;\n"), ["csrc/a.cpp lacks its SPDX line"]);
  for (
    const [code, folder, problem] of [
      ["Deno.dlopen(a);\n", "native", "touches FFI outside lib/native"],
      ["new Deno.UnsafePointerView(a);\n", "native", "touches FFI outside lib/native"],
      ["Deno.readTextFileSync(a);\n", "files", "operates on files outside lib/files"],
      ['import { open } from "node:fs/promises";\n', "files", "operates on files outside lib/files"],
    ] as const
  ) {
    assert.deepEqual(textProblems(`lib/${folder}/a.ts`, HEAD + code), []);
    assert.deepEqual(textProblems("lib/data/a.ts", HEAD + code), [`lib/data/a.ts ${problem}`]);
    assert.deepEqual(textProblems("scripts/a.ts", HEAD + code), []);
  }
});

Deno.test("check_levels.ts finds imports that go up, leave lib/ or have no level, and cycles", () =>
  withFolder(async (folder) => {
    const put = async (path: string, code: string) => {
      await Deno.mkdir(join(folder, path, ".."), { recursive: true });
      await Deno.writeTextFile(join(folder, path), HEAD + code);
    };
    const check = await Deno.readTextFile(new URL("scripts/check_levels.ts", ROOT));
    const run = async () => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-check", "--no-config", "--allow-read", join(folder, "scripts/check_levels.ts")],
        env: { NO_COLOR: "1" },
      }).output();
      const text = new TextDecoder();
      return {
        code,
        summary: text.decode(stdout),
        problems: text.decode(stderr).trimEnd().split("\n").sort(),
      };
    };
    await put("scripts/check_levels.ts", check.replace(HEAD, ""));
    await put("csrc/a.cpp", "");
    await put("lib/cli/output.ts", 'import "../report/report_process.ts";\n');
    await put("lib/report/report_process.ts", 'import type { A } from "../core/a.ts";\n');
    await put("lib/core/a.ts", "");
    await put("lib/train/a.ts", 'import "../evaluate/a.ts";\n');
    await put("lib/evaluate/a.ts", "");
    const sound = await run();
    assert.deepEqual(sound, { code: 0, summary: "levels: 6 modules, 0 problems\n", problems: [""] });
    await put("lib/core/a.ts", 'export type { B } from "../data/b.ts";\n');
    await put("lib/data/b.ts", 'import "../optim/c.ts";\nawait import("./d.ts");\n');
    await put("lib/data/d.ts", 'import "./b.ts";\nimport "../../mod.ts";\n');
    await put("lib/evaluate/a.ts", 'import "../train/b.ts";\n');
    await put("lib/new/a.ts", 'import "../core/a.ts";\n');
    assert.deepEqual(await run(), {
      code: 1,
      summary: "levels: 9 modules, 6 problems\n",
      problems: [
        "import cycle: lib/data/b.ts -> lib/data/d.ts -> lib/data/b.ts",
        "lib/core/a.ts (level 0) imports lib/data/b.ts (level 6)",
        "lib/data/b.ts (level 6) imports lib/optim/c.ts (level 6)",
        "lib/data/d.ts imports mod.ts, which is outside lib/",
        "lib/evaluate/a.ts (level 11) imports lib/train/b.ts (level 11)",
        "lib/new/a.ts is in a folder that has no level",
      ],
    });
  }));

Deno.test("every task for people who work on meft has its help", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  for (const name of Object.keys(TASK_HELP)) assert.ok(name in tasks, name);
  for (const [name, { command }] of Object.entries<{ command: string }>(tasks)) {
    if (!command.includes("scripts/meft.ts")) assert.ok(name in TASK_HELP, name);
  }
});
