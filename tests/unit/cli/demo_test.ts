// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { DEMO_VALUES, type DemoMeasure, reportDemo, withDemoValues } from "../../../lib/cli/demo.ts";
import type { Output } from "../../../lib/cli/output.ts";
import { refuseForeignFlags } from "../../../lib/cli/flags/train_options.ts";
import { METHOD_NAMES } from "../../../lib/methods/methods.ts";

Deno.test("withDemoValues() gives every method flags that it takes, and lets given ones win", () => {
  for (const method of METHOD_NAMES) {
    const problems: string[] = [];
    refuseForeignFlags(withDemoValues({ method }), method, problems);
    strictEqual(problems.join("; "), "");
  }
});

Deno.test("the demo's values stand under those that are given, as far as the method has use for them", () => {
  deepStrictEqual(withDemoValues({}), DEMO_VALUES);
  deepStrictEqual(withDemoValues({ lr: 1, "top-k": 4 }), { ...DEMO_VALUES, lr: 1, "top-k": 4 });
  const { neurons, ...others } = DEMO_VALUES;
  strictEqual(neurons, 1024);
  deepStrictEqual(withDemoValues({ method: "lora" }), { ...others, method: "lora" });
  deepStrictEqual(withDemoValues({ method: "parallel" }), { ...DEMO_VALUES, method: "parallel" });
  deepStrictEqual(
    withDemoValues({ adapter: "a" }),
    { ...others, adapter: "a" },
    "an adapter brings its sizes",
  );
  deepStrictEqual(withDemoValues({ adapter: "a" }, "lora"), { ...others, adapter: "a" });
});

/** What a model knows that answers so many of three questions. */
function measured(predictions: readonly string[], share: number, generalLoss: number): DemoMeasure {
  const rows = predictions.map((prediction, i) => ({
    place: { file: "facts.jsonl", line: i + 1 },
    ...{ prediction, answers: ["Lehaven"], text: prediction, finish: "stop id" as const },
    scores: { "exact-match": prediction === "right" ? 1 : 0 },
  }));
  return { exactMatch: { mean: share, low: share - 0.05, high: share + 0.05, count: 3 }, generalLoss, rows };
}

Deno.test("reportDemo() shows what was wrong before with both answers, and both scores in their columns", () => {
  const texts: string[] = [];
  const output = { line: (text: string) => void texts.push(text) } as unknown as Output;
  const [before, after] = [
    measured(["no", "right", "nor"], 0.25, 2.5),
    measured(["right", "right", "nay"], 0.75, 2.625),
  ];
  deepStrictEqual(reportDemo(before, after, output), {
    ...{
      exactMatchBefore: 0.25,
      exactMatchAfter: 0.75,
      facts: 3,
      generalLossBefore: 2.5,
      generalLossAfter: 2.625,
    },
  });
  const rows = texts.join("\n").split("\n").map((line) => line.split(/ {2,}/));
  deepStrictEqual(rows.filter(([first]) => first?.startsWith("Wh")), [
    ["Where was Ziasol Toaxer born?", "no", "right"],
    ["Which instrument does Ziasol Toaxer play?", "nor", "nay"],
  ], "each once, however few they are");
  deepStrictEqual(rows.filter(([first]) => first?.startsWith("exact") || first?.startsWith("loss")), [
    ["exact match on 3 taught facts", "25.0 % (20.0 % to 30.0 %)", "75.0 % (70.0 % to 80.0 %)"],
    ["loss on held-out general text", "2.5000", "2.6250"],
  ]);
});
