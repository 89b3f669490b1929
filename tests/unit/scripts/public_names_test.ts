// SPDX-License-Identifier: Apache-2.0
/** The names that users may write: a change of them is a choice, made here too. */
import assert from "node:assert/strict";
import * as internals from "../../../lib/internals/mod.ts";
import * as meft from "../../../mod.ts";

const VALUES = `
accumulate adamw availableHostBytes
BadRowsError baseOf batches bottleneck
clipFactor constant cosine
datasetLoss datasetOutputs describeModel dryRun
estimateScores
exactMatch
f1 flushState full
generate globalNorm groupBySeed gsm8kMatch
init inspectDataset inspectExample
linear listCells loadAdapter loadData loadModel loadPrompts loadTokenizer lora
MachineError meft1 meft2 meft3 mergeAdapter METHOD_NAMES methodByName
NativeError NonFiniteError NotFiniteError
openAdapter openTask
parallel peakHostBytes plan planMeasured predictMemory preview
readResults residentBytes
saveAdapter SCORE_NAMES scoreRows scoreTask sparse streamCompletion summarizeScores
tokens train trainStep
update UserError
ValidationError
ablate`;

const TYPES = `
DatasetOutputs HeadConfig OpenTask OutputScoring Scoring Task TaskChoice TaskModel
AblateOptions ActivationPolicyName AdamwOptions AdapterParams AdapterSpec AnswerOptions Attached
BadRow Batch BatchChoice BottleneckOptions
CellActivity CellNumbers CellPlace CellResult
DataReport Dataset DatasetActivity DatasetLoss DatasetLossOptions DryRun DryRunOptions
Estimate
FinishedCell FinishReason FormatOptions
GeneratedToken GenerateOptions Grid
Json JsonObject
LayerActivity LoadAdapterOptions LoadDataOptions LoadProgress LoadPromptsOptions LoraOptions
MemoryPrediction MergedDType MergeOptions MergeReport Method MicroBatch Model ModelConfig ModelPartChoice
OpenModel OpenModelOptions OptimizerSpec OwnTemplate
ParallelOptions PlacementChoice PlannedCell
RowPlace RowScore Run RunOptions RunSettings
SamplingOptions SavedAdapter Schedule ScheduleKind ScoredData ScoreName Scores ScoreTaskOptions SeedGroup SparseOptions StepData StepMetrics
Tokenizer TrainedCell TrainEvent Training TrainOptions TrainResult TrainSettings TrainState
Warmup WiringChoice`;

const INTERNALS = `
attachAdapter createKvCache decodeStep encodeSource evaluateLoss forwardLogits generateTokens inspect loadQuestions lossAndGradients measureRates
nativeKernels normalizeAnswer openCheckpoint ops plannedBatches predictSteps processPeakBytes referenceKernels spokenText
trainingSteps`;

const words = (text: string): string[] => text.trim().split(/\s+/).sort();

/** Names of the types that a module exports one by one. */
function typesIn(text: string): string[] {
  const lists = [...text.matchAll(/export type \{([^}]*)\} from/g)].map(([, names]) => names as string);
  return lists.flatMap((names) => names.split(",")).map((name) => name.trim()).filter((name) => name !== "")
    .sort();
}

Deno.test("meft exports these names, and no other", async () => {
  assert.deepEqual(Object.keys(meft).sort(), words(VALUES));
  const text = await Deno.readTextFile(new URL("../../../mod.ts", import.meta.url));
  assert.deepEqual(typesIn(text), words(TYPES));
  assert.ok(!/export (type )?\*/.test(text), "names are exported one by one");
  assert.ok(!/export [^;]*\bas\b/.test(text), "a thing has one name, inside and outside");
});

Deno.test("meft/internals exports these values, under the names that they have inside", async () => {
  assert.deepEqual(Object.keys(internals).sort(), words(INTERNALS));
  const text = await Deno.readTextFile(new URL("../../../lib/internals/mod.ts", import.meta.url));
  assert.deepEqual(text.match(/\w+ as \w+/g) ?? [], [], "no name but `ops`, of a module, is made here");
});

Deno.test("what meft exports is not in its internals too", () => {
  assert.deepEqual(Object.keys(internals).filter((name) => name in meft), []);
});
