// SPDX-License-Identifier: Apache-2.0
/** Steps and evaluations of a run under way: what is not finite ends it with its reason, and leaves the last good state saved. */
import { NotFiniteError } from "../core/errors.ts";
import type { StepData } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { type DatasetLoss, datasetLoss, nameRows } from "../evaluate/loss.ts";
import { explainNotFinite } from "../evaluate/not_finite.ts";
import { StreamOverflowError } from "../models/wiring/overflow.ts";
import type { Forecast } from "./forecast.ts";
import type { MetricsLog } from "./metrics_log.ts";
import type { Run } from "./plan.ts";
import { saveState, type Session } from "./session.ts";
import { attachState, type TrainState } from "./state.ts";
import { NonFiniteError, type StepMetrics, trainStep } from "./step.ts";
import { withinDevice } from "./within_device.ts";

/** A step; when it is not finite, or does not fit its streams, the good state is saved and the error names the rows. */
export async function guardedStep(
  session: Session,
  state: TrainState,
  stepData: StepData,
  log: MetricsLog | null,
): Promise<[TrainState, StepMetrics]> {
  try {
    return await trainStep(session.run, state, stepData, session.clock, session.forecast);
  } catch (error) {
    const { run, data } = session;
    if (error instanceof StreamOverflowError) {
      if (state.step > 0) await saveState(session, state, log);
      const examples = stepData.microBatches.flatMap((micro) => [...micro.examples]);
      throw new StreamOverflowError(`${error.message}. Rows of the step: ${nameRows(data, examples)}`);
    }
    if (!(error instanceof NotFiniteError)) throw error;
    if (!(error instanceof NonFiniteError)) {
      const cause = await explainNotFinite(run.model, state.params);
      throw new NotFiniteError(`${error.message}. ${cause}`, { cause: error });
    }
    if (state.step > 0) await saveState(session, state, log);
    const rows = nameRows(data, error.examples);
    const cause = await explainNotFinite(run.model, state.params);
    const message = `${error.message}. Rows of the step: ${rows}. ${cause}`;
    throw new NonFiniteError(message, error.step, error.examples);
  }
}

/** An evaluation; when it is not finite, the state, which the training data found good, is saved first. */
export async function guardedEvaluation(
  session: Session,
  state: TrainState,
  data: Dataset,
  log: MetricsLog | null,
): Promise<DatasetLoss> {
  try {
    return await evaluateState(session.run, state, data, session.forecast);
  } catch (error) {
    if (error instanceof NotFiniteError || error instanceof StreamOverflowError) {
      await saveState(session, state, log);
    }
    throw error;
  }
}

/** Mean loss over a data set with the parameters of a state. */
export function evaluateState(
  run: Run,
  state: TrainState,
  data: Dataset,
  forecast: Pick<Forecast, "adviseDevice"> | null = null,
): Promise<DatasetLoss> {
  const { model, hooks } = attachState(run, state);
  return withinDevice(
    run,
    async () => {
      const options = { hooks, adapter: state.params, microBatchSize: run.settings.batch.micro };
      const loss = await datasetLoss(model, data, options);
      run.model.kernels.accountWorkspace?.();
      return loss;
    },
    forecast,
  );
}
