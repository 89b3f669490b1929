// SPDX-License-Identifier: Apache-2.0
/** Unit tests run beside each other in one process. */
import assert from "node:assert/strict";

const UNIT = new URL("../", import.meta.url);

/** What changes, or is measured, of all threads of a process. */
const SHARED = /Deno\.(env\.(set|delete)|chdir|umask|memoryUsage)\(/;

/** All sources of a folder. */
function* files(folder: URL): Generator<URL> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* files(new URL(`${name}/`, folder));
    else if (name.endsWith(".ts")) yield new URL(name, folder);
  }
}

Deno.test("unit tests set and measure nothing that all of a process share: such tests are in tests/process", () => {
  const changing = [...files(UNIT)].filter((file) => SHARED.test(Deno.readTextFileSync(file)));
  assert.deepEqual(changing.map(({ pathname }) => pathname), []);
  assert(SHARED.test(Deno.readTextFileSync(new URL("../process/tools_test.ts", UNIT))));
});
