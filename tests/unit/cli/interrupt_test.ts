// SPDX-License-Identifier: Apache-2.0
/** The first Ctrl-C asks, the second ends at once; one key press that comes twice is one. */
import assert from "node:assert/strict";
import { listenForInterrupt } from "../../../lib/cli/interrupt.ts";

type Listener = () => void;

/** Calls the body with signals, a clock and an end of the process that are the test's. */
function withSignals(
  body: (
    given: {
      listeners: Map<Deno.Signal, Listener>;
      at: (ms: number, signal: Deno.Signal) => void;
      exits: unknown[];
    },
  ) => void,
): void {
  const { addSignalListener, removeSignalListener, exit } = Deno;
  const { now } = performance;
  const listeners = new Map<Deno.Signal, Listener>();
  const exits: unknown[] = [];
  try {
    Deno.addSignalListener = (signal, listener) => void listeners.set(signal, listener);
    Deno.removeSignalListener = (signal, listener) => {
      assert.equal(listeners.get(signal), listener);
      listeners.delete(signal);
    };
    Deno.exit = ((code: number) => void exits.push(code)) as typeof Deno.exit;
    body({
      listeners,
      exits,
      at(ms, signal) {
        performance.now = () => ms;
        listeners.get(signal)?.();
      },
    });
  } finally {
    Object.assign(Deno, { addSignalListener, removeSignalListener, exit });
    performance.now = now;
  }
}

for (const second of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.test(`a first signal asks the work to end, a second one (${second}) ends the process at once, with 130`, () =>
    withSignals(({ listeners, at, exits }) => {
      let asked = 0;
      const { signal, [Symbol.dispose]: dispose } = listenForInterrupt(() => asked++);
      assert.deepEqual([...listeners.keys()], ["SIGINT", "SIGTERM", "SIGHUP"]);
      assert.equal(signal.aborted, false);
      at(10_000, "SIGINT");
      assert.deepEqual([asked, signal.aborted, exits], [1, true, []]);
      at(10_500, second);
      assert.deepEqual([asked, exits], [1, []], "a terminal and deno task deliver one key press twice");
      at(10_501, second);
      assert.deepEqual([asked, exits], [1, [130]]);
      dispose();
      assert.equal(listeners.size, 0);
    }));
}
