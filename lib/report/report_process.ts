// SPDX-License-Identifier: Apache-2.0
/**
 * A process that writes a run's report, so that drawing takes neither time nor memory from the training. Arguments: the run
 * folder, and to serve the page too, a port. Then it prints the address, and ends when its standard input does.
 */
import { surviveFileSizeLimit } from "../files/size_limit.ts";
import { serveRunReport, writeRunReport } from "./run_report.ts";

if (import.meta.main) {
  const [folder = "", port] = Deno.args;
  surviveFileSizeLimit();
  // Ctrl-C reaches every process of the terminal: it is the training that says when this one ends.
  for (const signal of ["SIGINT", "SIGHUP"] as const) Deno.addSignalListener(signal, () => {});
  try {
    if (port === undefined) await writeRunReport(folder);
    else {
      const ended = new AbortController();
      const input = Deno.stdin.readable.pipeTo(new WritableStream()).finally(() => ended.abort());
      await serveRunReport(folder, Number(port), (url) => console.log(url), ended.signal);
      await input;
    }
    Deno.exit(0);
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(1);
  }
}
