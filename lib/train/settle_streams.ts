// SPDX-License-Identifier: Apache-2.0
/** How many fractional bits the streams of a run have: found from its first rows, where nobody chose. */
import { fractionFor, probingCoupling } from "../adapters/wiring/coupled.ts";
import type { AdapterSpec } from "../adapters/registry.ts";
import type { Dataset } from "../data/dataset.ts";
import { runStacks } from "../models/engine/pass.ts";
import { batches } from "./batches.ts";
import { type Run, withSpecs } from "./plan.ts";

/**
 * The run with the fractional bits of its streams, a pure function of model and data; the same where there is nothing to find.
 *
 * @throws {StreamOverflowError} When no int32 has room for the values
 */
export async function settleStreams<R extends Run>(run: R, data: Dataset): Promise<R> {
  const place = run.trained.findIndex(({ findsFraction }) => findsFraction);
  const first = place < 0 ? null : batches(run, data).next().value?.microBatches[0];
  if (!first) return run;
  const { options } = run.specs[place] as AdapterSpec;
  let largest = 0;
  const coupling = probingCoupling(options, run.model.config, (value) => largest = Math.max(largest, value));
  if (coupling === null) return run;
  await runStacks(run.model, first.batch, { coupling });
  const [head, ...others] = run.specs.map((spec, i) =>
    i === place ? { ...spec, options: { ...options, fractionBits: fractionFor(largest) } } : spec
  );
  return withSpecs(run, [head as AdapterSpec, ...others]);
}
