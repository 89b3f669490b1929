// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { table } from "../../../lib/report/display.ts";
import { createRedraw, inNotebook } from "../../../lib/report/notebook.ts";

const MODULE = new URL("../../../lib/report/notebook.ts", import.meta.url).href;
const DISPLAY = new URL("../../../lib/report/display.ts", import.meta.url).href;

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

Deno.test("createRedraw() shows a display in a notebook once, and what follows in its place; elsewhere nothing", async () => {
  await createRedraw()(table([["elsewhere"]]));
  const program = `
    const shown = [];
    Deno.jupyter = { display: (media, options) => Promise.resolve(void shown.push({ media, options })) };
    const { createRedraw } = await import("${MODULE}");
    const { table } = await import("${DISPLAY}");
    const redraw = createRedraw();
    for (const text of ["a", "b", "c"]) await redraw(table([[text]]));
    await createRedraw()(table([["other"]]));
    console.log(JSON.stringify(shown));`;
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["eval", "--ext=ts", program] })
    .output();
  const shown: { media: object; options: { raw: boolean; display_id: string; update: boolean } }[] = JSON
    .parse(
      new TextDecoder().decode(stdout),
    );
  deepStrictEqual(shown.map(({ options }) => [options.raw, options.update]), [
    [true, false],
    [true, true],
    [true, true],
    [true, false],
  ]);
  const ids = shown.map(({ options }) => options.display_id);
  deepStrictEqual([new Set(ids.slice(0, 3)).size, new Set(ids).size], [1, 2]);
  deepStrictEqual(Object.keys(shown[0]?.media ?? {}), ["text/html", "text/plain"]);
});
