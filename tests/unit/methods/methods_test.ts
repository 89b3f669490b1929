// SPDX-License-Identifier: Apache-2.0
/** What a method's name stands for. */
import assert from "node:assert/strict";
import { UserError } from "../../../lib/core/errors.ts";
import {
  full,
  lora,
  meft1,
  meft2,
  meft3,
  METHOD_NAMES,
  methodByName,
  parallel,
  sparse,
} from "../../../lib/methods/methods.ts";

Deno.test("every method is its adapter with the published learning rate, activations stored", () => {
  const rates = { sparse: 1e-4, parallel: 1e-4, lora: 1e-4, bottleneck: 5e-4, tokens: 1e-4, full: 1e-5 };
  assert.deepEqual(METHOD_NAMES, [...Object.keys(rates), "meft1", "meft2", "meft3"]);
  for (const [name, lr] of Object.entries(rates)) {
    const { summary, ...method } = methodByName(name);
    assert.deepEqual(method, {
      name,
      adapter: { kind: name, options: {} },
      optimizer: { lr },
      activations: "store",
    });
    assert.ok(summary.length > 10);
  }
  assert.equal(new Set(METHOD_NAMES.map((name) => methodByName(name).summary)).size, METHOD_NAMES.length);
});

Deno.test("a reversible method is the bottleneck adapter under its wiring, undone by backward", () => {
  for (const [name, made] of Object.entries({ meft1, meft2, meft3 })) {
    const { summary: _, ...method } = methodByName(name, { lambda: 0.5 });
    assert.deepEqual(method, {
      name,
      adapter: { kind: "bottleneck", options: { wiring: name, lambda: 0.5 } },
      optimizer: { lr: 5e-4 },
      activations: "reversible",
    });
    assert.deepEqual(made({ lambda: 0.5 }), methodByName(name, { lambda: 0.5 }));
  }
});

Deno.test("options of a method are those of its adapter, and a method keeps a copy", () => {
  const options = { neurons: 12 };
  const made = [sparse(options), parallel(options), methodByName("sparse", options)];
  for (const { adapter } of made) assert.deepEqual(adapter.options, { neurons: 12 });
  const ofUser = { rank: 3 };
  const method = lora(ofUser);
  ofUser.rank = 4;
  assert.deepEqual(method.adapter, { kind: "lora", options: { rank: 3 } });
  assert.deepEqual(full().adapter.options, {});
});

Deno.test("methodByName() refuses what is no method, also where it is the name of something else", () => {
  for (
    const [name, hint] of [["sparce", '; did you mean "sparse"?'], ["constructor", ""], ["", ""]] as const
  ) {
    assert.throws(() => methodByName(name), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.equal(
        error.message,
        `There is no method "${name}"${hint} (there are: sparse, parallel, lora, bottleneck, tokens, full, meft1, meft2, meft3)`,
      );
      return true;
    });
  }
});
