// SPDX-License-Identifier: Apache-2.0
/** Correlation of predicted values with true ones, as scipy defines it. NaN where either is all of one value. */

/** Pearson's r: the cosine of the two, their means taken off. */
export function pearson(truth: Float64Array, predicted: Float64Array): number {
  const [a, b] = [centred(truth), centred(predicted)];
  const dot = (x: Float64Array, y: Float64Array) =>
    x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
  const r = dot(a, b) / (Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b)));
  return Math.max(-1, Math.min(1, r));
}

/** Spearman's rho: Pearson's r of ranks, those that tie sharing the mean of theirs. */
export function spearman(truth: Float64Array, predicted: Float64Array): number {
  return pearson(ranks(truth), ranks(predicted));
}

function centred(values: Float64Array): Float64Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.map((value) => value - mean);
}

/** (n) ranks from 1. */
function ranks(values: Float64Array): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((a, b) => (values[a] as number) - (values[b] as number));
  const found = new Float64Array(values.length);
  for (let begin = 0, end = 0; begin < order.length; begin = end) {
    const value = values[order[begin] as number];
    for (end = begin; values[order[end] as number] === value && end < order.length;) end++;
    const shared = (begin + end + 1) / 2;
    for (const i of order.slice(begin, end)) found[i] = shared;
  }
  return found;
}
