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
  peakRate,
  sparse,
} from "../../../lib/methods/methods.ts";

Deno.test("every method is its adapter with the published learning rate, activations stored", () => {
  const rates = {
    sparse: [1e-4, 3e-4],
    parallel: [1e-4, 1e-3],
    lora: [1e-4, 1e-3],
    bottleneck: [5e-4, 3e-3],
    tokens: [1e-4, 1e-3],
    full: [1e-5, 1e-4],
  } as const;
  assert.deepEqual(METHOD_NAMES, [...Object.keys(rates), "meft1", "meft2", "meft3"]);
  for (const [name, [lr, headLr]] of Object.entries(rates)) {
    const { summary, ...method } = methodByName(name);
    assert.deepEqual(method, {
      name,
      adapter: { kind: name, options: {} },
      optimizer: { lr },
      headLr,
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
      headLr: 3e-3,
      activations: "reversible",
    });
    assert.deepEqual(made({ lambda: 0.5 }), methodByName(name, { lambda: 0.5 }));
  }
});

Deno.test("peakRate() is larger where a head is learnt too, less so at larger hidden sizes, never below the published rate", () => {
  const names = ["sparse", "lora", "bottleneck", "full"];
  const rates = (hidden: number, hasHead: boolean) =>
    names.map((name) => peakRate(methodByName(name), hidden, hasHead));
  assert.deepEqual(rates(64, true), [3e-4, 1e-3, 3e-3, 1e-4]);
  assert.deepEqual(rates(384, true), rates(64, true));
  assert.deepEqual(rates(768, true), [1.5e-4, 5e-4, 1.5e-3, 5e-5]);
  assert.deepEqual(rates(4096, true), [1e-4, 1e-4, 5e-4, 1e-5]);
  assert.deepEqual(rates(64, false), [1e-4, 1e-4, 5e-4, 1e-5]);
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

Deno.test("an option that makes a method is no other: a method of one wiring has no second", () => {
  assert.throws(
    () => methodByName("meft1", { wiring: "meft2" }),
    new UserError(
      "wiring is meft2, but method meft1 is that of wiring meft1: leave wiring out, or choose it with method bottleneck",
    ),
  );
  assert.deepEqual(methodByName("meft1", { wiring: "meft1" }), methodByName("meft1"));
});
