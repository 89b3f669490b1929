// SPDX-License-Identifier: Apache-2.0
/** Unit tests run beside each other in one process. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { filesBelow } from "../../../scripts/folders.ts";

const UNIT = new URL("../", import.meta.url);

/** What changes, or is measured, of all threads of a process. */
const SHARED = /Deno\.(env\.(set|delete)|chdir|umask|memoryUsage)\(/;

Deno.test("unit tests set and measure nothing that all of a process share: such tests are in tests/process", async () => {
  const sources = (await filesBelow(fileURLToPath(UNIT))).filter((path) => path.endsWith(".ts"));
  assert.deepEqual(sources.filter((path) => SHARED.test(Deno.readTextFileSync(new URL(path, UNIT)))), []);
  assert(SHARED.test(Deno.readTextFileSync(new URL("../process/tools_test.ts", UNIT))));
});
