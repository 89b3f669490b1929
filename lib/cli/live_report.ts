// SPDX-License-Identifier: Apache-2.0
/** The report of a run while it goes on: answers before and after, a fresh page now and then, and who watches it. */
import { refreshReport, serveReport } from "../report/report_child.ts";
import { writeExamples } from "../report/run_record.ts";
import { type EventLog, openEventLog } from "../report/tensorboard/event_log.ts";
import type { TrainEvent } from "../train/loop.ts";
import type { MetricsLine } from "../train/metrics_log.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import { valuesOf } from "./flags/flags.ts";
import { WATCH_OPTIONS } from "./flags/report.ts";
import type { Output } from "./output.ts";
import { answersAfter, answersBefore, type ExampleSession } from "./run_examples.ts";

/** The report of a run under way. Disposing it without `finish` writes the page without answers after training. */
export interface LiveReport extends AsyncDisposable {
  /** After a step: writes what is due. */
  afterStep(event: TrainEvent): Promise<void>;
  /** Asks the questions again and writes the page a last time. */
  finish(adapter: AdapterParams | null): Promise<void>;
}

/** Asks the questions before training, and starts serving. The run's folder is left alone until its first step ended. */
export async function openLiveReport(out: string, session: ExampleSession): Promise<LiveReport> {
  const { values, output } = session;
  const child = values.watch === true
    ? await serveReport(out, valuesOf(WATCH_OPTIONS, values).watchPort)
    : refreshReport(out);
  if (child.url !== null) output.line(`watch the run at ${child.url}\n`);
  const attempt = sayFailure(output, "The report could not be written");
  const attemptEvents = sayFailure(
    output,
    "The TensorBoard event file ends here; deno task report --tensorboard writes it anew",
  );
  let finished = false;
  let started = false;
  await using opening = new AsyncDisposableStack();
  opening.defer(async () => {
    // A run that failed or was interrupted has a page too, unless it never got to a step.
    if (!finished && (started || child.url !== null)) await attempt(() => child.finish());
  });
  const examples = await answersBefore(out, session);
  let events: EventLog | null = null;
  const owned = opening.move();
  return {
    async afterStep(event) {
      if (!started) {
        started = true;
        await attempt(() => writeExamples(out, examples));
        if (values.tensorboard === true) {
          await attemptEvents(async () => events = owned.use(await openEventLog(out, timed(event))));
        }
      } else {
        const open = events;
        events = null; // a file that could not be written to once would lack a step
        await attemptEvents(() => {
          open?.append(timed(event));
          events = open;
        });
      }
      child.refresh();
    },
    async finish(adapter) {
      if (started && adapter) {
        await attempt(async () => writeExamples(out, await answersAfter(examples, adapter, session)));
      }
      finished = true;
      await attempt(() => child.finish());
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** With its moment, in seconds since 1970. */
function timed(event: TrainEvent): TrainEvent & MetricsLine {
  return { ...event, time: Date.now() / 1000 };
}

/** What cannot be written of a report is no reason to end a run, nor to call it failed: it is said. */
function sayFailure(output: Output, what: string): (write: () => unknown) => Promise<void> {
  return async (write) => {
    try {
      await write();
    } catch (error) {
      output.line(`${what}: ${(error as Error).message}`);
    }
  };
}
