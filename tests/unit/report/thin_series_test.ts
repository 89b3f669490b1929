// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  addPoint,
  emptySeries,
  MAX_POINTS,
  type Point,
  thinPoints,
} from "../../../lib/report/thin_series.ts";

/** What a thinned line is by definition: means of as many neighbours as make it short enough, with their ends. */
function thinned(values: readonly Point[], perPoint: number): Point[] {
  const mean = (numbers: readonly number[]) =>
    numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  return Array.from({ length: Math.ceil(values.length / perPoint) }, (_, i) => {
    const part = values.slice(i * perPoint, (i + 1) * perPoint);
    const ys = part.map(({ y }) => y);
    return { x: mean(part.map(({ x }) => x)), y: mean(ys), low: Math.min(...ys), high: Math.max(...ys) };
  });
}

Deno.test("addPoint() keeps short lines as they are, and long ones as means with their ends, whatever the length", () => {
  const series = emptySeries();
  const values: Point[] = [];
  for (let x = 0; x < 3000; x++) {
    const y = Math.fround(Math.sin(x) * 100) + (x === 1234 ? 1e6 : 0);
    values.push({ x, y });
    addPoint(series, x, y);
    ok(series.points.length <= MAX_POINTS);
    if (x < MAX_POINTS) deepStrictEqual(series.points, values);
    if (x % 97 > 0 || x < MAX_POINTS) continue;
    strictEqual(series.perPoint, 2 ** Math.ceil(Math.log2((x + 1) / MAX_POINTS)));
    const expected = thinned(values, series.perPoint);
    strictEqual(series.points.length, expected.length);
    series.points.forEach((point, i) => {
      const { x, y, low, high } = expected[i] as Required<Point>;
      deepStrictEqual([point.low ?? point.y, point.high ?? point.y], [low, high]);
      // A running mean of at most 16 values of at most 1e6.
      ok(Math.abs(point.y - y) <= 16 * Number.EPSILON * 1e6, `${point.y}, expected ${y}`);
      ok(Math.abs(point.x - x) <= 16 * Number.EPSILON * 3000, `${point.x}, expected ${x}`);
    });
  }
});

Deno.test("thinPoints() keeps lines of up to 320 points, gaps in them too", () => {
  const points = Array.from({ length: MAX_POINTS }, (_, x) => ({ x, y: x === 7 ? NaN : x }));
  strictEqual(thinPoints(points), points);
  deepStrictEqual(thinPoints([]), []);
  const long = thinPoints([...points, { x: 320, y: 320 }]);
  strictEqual(long.length, 161);
  deepStrictEqual(long[0], { x: 0.5, y: 0.5, low: 0, high: 1 });
  ok(Number.isNaN(long[3]?.y), "a mean over a gap is one");
  deepStrictEqual(long[160], { x: 320, y: 320 });
});
