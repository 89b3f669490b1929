// SPDX-License-Identifier: Apache-2.0
import { strictEqual } from "node:assert/strict";
import { inNotebook } from "../../../lib/report/notebook.ts";

const MODULE = new URL("../../../lib/report/notebook.ts", import.meta.url).href;

/** Runs a program that interrupts itself; `before` stands ahead of everything, to make it a notebook or not. */
async function interrupted(before: string, presses: number): Promise<Deno.CommandOutput> {
  const program = `${before}
    const { interruptSignal } = await import("${MODULE}");
    const signal = interruptSignal();
    const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    for (let press = 0; press < ${presses}; press++) {
      Deno.kill(Deno.pid, "SIGINT");
      await tick(50);
    }
    console.log(signal.aborted, interruptSignal().aborted);`;
  return await new Deno.Command(Deno.execPath(), { args: ["eval", "--ext=ts", program] }).output();
}

const AS_NOTEBOOK = "Deno.jupyter = { display() {} };";

Deno.test("interruptSignal() fires at an interrupt, and in a notebook later ones do no harm", async () => {
  strictEqual(inNotebook(), false);
  const { code, stdout } = await interrupted(AS_NOTEBOOK, 3);
  strictEqual(new TextDecoder().decode(stdout), "true false\n");
  strictEqual(code, 0);
});

Deno.test("interruptSignal() outside a notebook leaves the second Ctrl-C to the system", async () => {
  const once = await interrupted("", 1);
  strictEqual(new TextDecoder().decode(once.stdout), "true false\n");
  strictEqual((await interrupted("", 2)).signal, "SIGINT");
});
