// SPDX-License-Identifier: Apache-2.0
/** The README says of flags what the flags say themselves. */
import assert from "node:assert/strict";
import { withFlagTable } from "../../../scripts/flag_table.ts";

/** The text without what only makes columns of tables even. */
function plain(text: string): string {
  return text.replaceAll(/-{3,}/g, "---").replaceAll(/ +/g, " ");
}

Deno.test("the README's table of flags is that of scripts/flag_table.ts", async () => {
  const readme = await Deno.readTextFile(new URL("../../../README.md", import.meta.url));
  assert.equal(plain(readme), plain(withFlagTable(readme)), "deno run -A scripts/flag_table.ts writes it");
});
