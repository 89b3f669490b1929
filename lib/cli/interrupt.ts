// SPDX-License-Identifier: Apache-2.0
/** Ctrl-C: the first asks the work to finish its step and save, the second ends the process. */
import { EXIT } from "./failure.ts";

/** A terminal's group and `deno task` both deliver one Ctrl-C: a repeat this soon is the same key press (measured). */
const SAME_PRESS_MS = 500;

/**
 * Listens until disposed for SIGINT, SIGTERM and SIGHUP, which a terminal sends when it is closed.
 *
 * @param onFirst Called at the first signal
 */
export function listenForInterrupt(onFirst: () => void): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  let firstMs = -Infinity;
  const listener = () => {
    const now = performance.now();
    if (!controller.signal.aborted) {
      firstMs = now;
      controller.abort();
      onFirst();
    } else if (now - firstMs > SAME_PRESS_MS) {
      Deno.exit(EXIT.interrupted);
    }
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const signal of signals) Deno.removeSignalListener(signal, listener);
    },
  };
}
