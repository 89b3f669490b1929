// SPDX-License-Identifier: Apache-2.0
import { strictEqual } from "node:assert/strict";
import { withDemoValues } from "../../../lib/cli/demo.ts";
import { refuseForeignFlags } from "../../../lib/cli/train_options.ts";
import { METHOD_NAMES } from "../../../lib/methods/registry.ts";

Deno.test("withDemoValues() gives every method flags that it takes, and lets given ones win", () => {
  for (const method of METHOD_NAMES) {
    const problems: string[] = [];
    refuseForeignFlags(withDemoValues({ method }), method, problems);
    strictEqual(problems.join("; "), "");
  }
  strictEqual(withDemoValues({ neurons: 64 }).neurons, 64);
  strictEqual(withDemoValues({}).neurons, 1024);
});
