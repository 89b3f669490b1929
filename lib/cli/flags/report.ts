// SPDX-License-Identifier: Apache-2.0
/** What there is to choose of the report of a run. */
import { integer, toggle } from "../../core/options.ts";

/** How the page of `train` and `report` is watched. */
export const WATCH_OPTIONS = {
  watch: toggle({ ofCall: true, help: "serve report.html on 127.0.0.1 while the run goes on" }),
  watchPort: integer({
    min: 0,
    max: 65535,
    default: 0,
    ofCall: true,
    help: "port of --watch; 0 takes any that is free",
  }),
} as const;

/** What else there is to say of the report of `train`. */
export const REPORT_OPTIONS = {
  ...WATCH_OPTIONS,
  examples: integer({
    min: 0,
    max: 1000,
    default: 4,
    ofKeeping: true,
    help: "questions that the report shows, answered before and after; 0 for none",
  }),
  tensorboard: toggle({ ofKeeping: true, help: "also write the metrics as a TensorBoard event file" }),
} as const;
