// SPDX-License-Identifier: Apache-2.0
/** Scores of predicted classes, as scikit-learn defines them. */

/** Share of predictions that are right. */
export function accuracy(truth: Int32Array, predicted: Int32Array): number {
  return truth.reduce((right, label, i) => right + Number(label === predicted[i]), 0) / truth.length;
}

/** F1 of class 1 (the positive one, as GLUE has it): 2 tp / (2 tp + fp + fn); 0 where nothing is of the class or taken for it. */
export function f1Binary(truth: Int32Array, predicted: Int32Array): number {
  return f1Of(1, truth, predicted);
}

/** Mean of the F1 of each class that is there or predicted. */
export function f1Macro(truth: Int32Array, predicted: Int32Array): number {
  const classes = [...new Set([...truth, ...predicted])];
  return classes.reduce((sum, label) => sum + f1Of(label, truth, predicted), 0) / classes.length;
}

function f1Of(label: number, truth: Int32Array, predicted: Int32Array): number {
  let [hits, wrong] = [0, 0];
  truth.forEach((own, i) => {
    const [is, taken] = [own === label, predicted[i] === label];
    if (is && taken) hits++;
    else if (is || taken) wrong++;
  });
  return hits === 0 ? 0 : 2 * hits / (2 * hits + wrong);
}

/**
 * Matthews' correlation coefficient for any number of classes (Gorodkin, 2004): with c right of n, t and p how often each
 * class is there and predicted,  (c n - t.p) / sqrt((n^2 - p.p) (n^2 - t.t)); 0 where all are of one class, or taken for it.
 */
export function matthews(truth: Int32Array, predicted: Int32Array): number {
  const classes = 1 + [truth, predicted].reduce((most, all) => all.reduce((a, b) => Math.max(a, b), most), 0);
  const [there, taken] = [new Float64Array(classes), new Float64Array(classes)];
  let right = 0;
  truth.forEach((own, i) => {
    const other = predicted[i] as number;
    there[own] = (there[own] as number) + 1;
    taken[other] = (taken[other] as number) + 1;
    right += Number(own === other);
  });
  const product = (a: Float64Array, b: Float64Array) =>
    a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
  const all = truth.length ** 2;
  const spread = (all - product(taken, taken)) * (all - product(there, there));
  return spread === 0 ? 0 : (right * truth.length - product(there, taken)) / Math.sqrt(spread);
}
