// SPDX-License-Identifier: Apache-2.0
/** Paths may have any name that a file may have. */
import { ok, strictEqual } from "node:assert/strict";
import { withFolder } from "../fixtures/folder.ts";
import { runCommandLine, SMALL_RUN } from "./command.ts";

Deno.test("a run whose folder has a comma, a space or any other sign in its name has all its files", () =>
  withFolder(async (folder) => {
    for (const [name, flags] of [["a,b c", []], ["new,/-#%?~'\"\nx", ["--watch"]]] as const) {
      const out = `${folder}/${name}`;
      const steps = ["--steps", "2", "--examples", "0"];
      const { code, stdout, stderr } = await runCommandLine(
        "train",
        ...SMALL_RUN,
        ...steps,
        ...flags,
        "--out",
        out,
      );
      strictEqual(code, 0, stderr);
      ok(!stdout.includes("could not be written"), stdout);
      ok(Deno.statSync(`${out}/report.html`).size > 1000);
      strictEqual((await runCommandLine("report", "--run", out, "--tensorboard")).code, 0);
      const adapter = ["--adapter", `${out}/adapter`];
      const generated = await runCommandLine(
        "generate",
        ...adapter,
        "--prompt",
        "The",
        "--max-new-tokens",
        "2",
      );
      strictEqual(generated.code, 0, generated.stderr);
    }
  }));
