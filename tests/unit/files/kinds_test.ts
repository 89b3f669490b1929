// SPDX-License-Identifier: Apache-2.0
/** Nothing waits for what never comes, and nothing is read that never ends. */
import assert from "node:assert/strict";
import { readJsonSync, readText } from "../../../lib/files/read.ts";
import { withFolder } from "../../fixtures/folder.ts";

const ignore = Deno.build.os !== "linux";

Deno.test({
  name: "readText() refuses pipes, devices and logs of the kernel at once, whatever links lead to them",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const pipe = `${folder}/pipe`;
      await new Deno.Command("mkfifo", { args: [pipe] }).output();
      await Deno.symlink("/dev/zero", `${folder}/zero`);
      await Deno.symlink(pipe, `${folder}/link`);
      const refused: [string, string][] = [
        [pipe, "a pipe"],
        [`${folder}/link`, "a pipe"],
        ["/dev/zero", "a device"],
        ["/dev/random", "a device"],
        [`${folder}/zero`, "a device"],
        ["/proc/kmsg", "a log of the kernel"],
      ];
      for (const [path, kind] of refused) {
        await assert.rejects(readText(path), {
          name: "UserError",
          message: `Cannot read ${path}: it is ${kind}, not a file`,
        });
      }
      assert.equal(await readText("/dev/null"), "");
      assert.match(await readText("/proc/self/status"), /^VmRSS:/m);
    }),
});

Deno.test({
  name: "readText() takes what a shell hands over as a pipe",
  ignore,
  async fn() {
    const module = new URL("../../../lib/files/read.ts", import.meta.url);
    const read = `console.log(await (await import("${module}")).readText(Deno.args[0]))`;
    const { stdout } = await new Deno.Command("bash", {
      args: [
        "-c",
        `"$0" run -A --ext=ts "$1" <(printf hello)`,
        Deno.execPath(),
        `data:text/javascript,${read}`,
      ],
    }).output();
    assert.equal(new TextDecoder().decode(stdout), "hello\n");
  },
});

Deno.test("readJsonSync() refuses a key that stands twice, and says which", () =>
  withFolder(async (folder) => {
    const path = `${folder}/x.json`;
    await Deno.writeTextFile(path, '{"a": 1, "b": {"c": 1, "c": 2}}');
    assert.throws(() => readJsonSync(path), {
      name: "UserError",
      message: `${path} has the key "b.c" twice: keep one`,
    });
  }));
