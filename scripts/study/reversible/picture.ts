// SPDX-License-Identifier: Apache-2.0
/** The study as a picture: what each method learns above, what it forgets and takes below. */
import { barPanel, drawPanels, type Mark, pointPanel } from "../panels.ts";
import type { ClassesMethod, Mean, TextMethod } from "./results.ts";

/** Axes begin at multiples of these. */
const [SCORE_STEP, LOSS_STEP] = [0.02, 0.5];
const MIB = 2 ** 20;

/** SVG text. */
export function drawStudy(classes: readonly ClassesMethod[], text: readonly TextMethod[]): string {
  const mark = ({ mean, half }: Mean): Mark => ({
    value: mean,
    low: mean - (half ?? 0),
    high: mean + (half ?? 0),
  });
  const losses = (of: "text" | "english") =>
    text.map((one) => ({ name: one.method, marks: [mark(one[of]), { value: one.start[of] }] }));
  const bars = (of: (one: TextMethod) => number) =>
    text.map((one) => ({ name: one.method, marks: [{ value: of(one) }] }));
  const panels = [
    pointPanel(
      "MiniLM: accuracy on WordNet's classes, 95 % intervals",
      classes.map(({ method, accuracy: { mean: value, low, high } }) => ({
        name: method,
        marks: [{ value, low, high }],
      })),
      SCORE_STEP,
      (value) => `${(100 * value).toFixed(1)} %`,
    ),
    pointPanel(
      "SmolLM2: loss on Spanish books, held out",
      losses("text"),
      LOSS_STEP,
      (value) => value.toFixed(2),
    ),
    pointPanel(
      "SmolLM2: loss on English, forgotten if higher",
      losses("english"),
      LOSS_STEP,
      (value) => value.toFixed(2),
    ),
    barPanel(
      "SmolLM2: memory beside the model's weights, MiB",
      bars(({ besideBytes }) => besideBytes / MIB),
      (value) => value.toFixed(0),
    ),
    barPanel(
      "SmolLM2: tokens trained a second of CPU time",
      bars(({ tokensPerSecond }) => tokensPerSecond),
      (value) => value.toFixed(0),
    ),
  ];
  return drawPanels(
    panels,
    ["trained", "before"],
    "what reversible methods learn, forget and take, beside others",
  );
}
