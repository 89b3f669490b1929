// SPDX-License-Identifier: Apache-2.0
/** Files that a run does without: when they cannot be read or written, it goes on and says so. */
import { equal, match } from "node:assert/strict";
import { withFolder } from "../fixtures/folder.ts";
import { runCommandLine, SMALL_RUN } from "./command.ts";

Deno.test("a run goes on without its event file, and without the answers of before, and says so", async () => {
  await withFolder(async (folder) => {
    const out = `${folder}/run`;
    await Deno.mkdir(out);
    await Deno.writeTextFile(`${out}/tensorboard`, "no folder");
    const train = ["train", ...SMALL_RUN, "--steps", "2", "--examples", "1", "--tensorboard", "--out", out];
    const first = await runCommandLine(...train);
    equal(first.code, 0, first.stderr);
    equal(first.stderr, "");
    match(first.stdout, /^The TensorBoard event file ends here; .*: Cannot list .*tensorboard: .*$/m);
    await Deno.writeTextFile(`${out}/examples.json`, "{");
    const resumed = await runCommandLine(...train, "--resume");
    equal(resumed.code, 0, resumed.stderr);
    match(resumed.stdout, /^The report's questions are asked again: .*examples\.json is not JSON.*$/m);
  });
});
