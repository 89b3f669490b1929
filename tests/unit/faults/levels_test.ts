// SPDX-License-Identifier: Apache-2.0
/** What the check of levels says of a file's text. */
import { deepStrictEqual } from "node:assert/strict";
import { textProblems } from "../../../scripts/check_levels.ts";

const HEAD = "// SPDX-License-Identifier: Apache-2.0\n";

Deno.test("textProblems() lets nothing print but the output of commands and the report's own process", () => {
  const prints = (path: string, code: string) => textProblems(path, HEAD + code).length > 0;
  const ways = [
    "console.log(1);",
    "console . error(1);",
    'console["log"](1);',
    "const { log } = console;",
    "Deno.stderr.writeSync(a);",
    "process.stdout.write(a);",
  ];
  const found = (path: string) => ways.filter((code) => prints(path, code));
  deepStrictEqual(found("lib/cli/commands/train.ts"), ways);
  deepStrictEqual(found("lib/report/table.ts"), ways);
  deepStrictEqual(found("lib/core/json.ts"), ways);
  deepStrictEqual([...found("lib/cli/output.ts"), ...found("lib/report/report_process.ts")], []);
  deepStrictEqual(prints("lib/report/mod.ts", "/**\n * console.log(report);\n */\n"), false);
});
