// SPDX-License-Identifier: Apache-2.0
/** What a notebook cell can do that a script cannot: redraw an output in place, and stop at the interrupt button. */
import { type Display, mediaOf } from "./display.ts";

/** Shows displays in one place of a notebook, each instead of the one before. */
export type Redraw = (display: Display) => Promise<void>;

/** Whether this process is a notebook's kernel. */
export function inNotebook(): boolean {
  try {
    return typeof Deno.jupyter.display === "function";
  } catch {
    return false; // outside a kernel Deno refuses the whole interface
  }
}

/** A place for redrawing in the output of the cell; outside a notebook nothing is shown. */
export function createRedraw(): Redraw {
  if (!inNotebook()) return () => Promise.resolve();
  const displayId = crypto.randomUUID();
  let update = false;
  return async (display) => {
    const options = { raw: true, display_id: displayId, update };
    update = true;
    await Deno.jupyter.display(mediaOf(display), options);
  };
}

/**
 * A signal that fires at the next interrupt: the notebook's stop button, or Ctrl-C. For `train`, which then ends after the
 * step under way and leaves in `adapter` what was learnt.
 *
 * A kernel that does not listen dies at an interrupt, with everything it holds. In a notebook the listener therefore
 * stays, and later interrupts do no harm; elsewhere it hears one, and the next Ctrl-C ends the process.
 */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  const stays = inNotebook();
  const listener = () => {
    controller.abort();
    if (!stays) Deno.removeSignalListener("SIGINT", listener);
  };
  Deno.addSignalListener("SIGINT", listener);
  return controller.signal;
}
