// SPDX-License-Identifier: Apache-2.0
/**
 * Lines of any length in few points: each is the mean of neighbours, as many as it takes. A line that is full halves its points
 * by pairs, so that it grows step by step in constant memory, and is the same whether its values came at once or one by one.
 */

/** A point; one that is not finite leaves a gap. */
export interface Point {
  readonly x: number;
  readonly y: number;
  /** Least and largest y of those that it is the mean of; left out for a value as it was. */
  readonly low?: number;
  readonly high?: number;
}

/** A line in at most {@linkcode MAX_POINTS} points. */
export interface ThinSeries {
  /** Values that a point is the mean of: a power of two. The last one may be of fewer. */
  perPoint: number;
  /** Values in the last point. */
  inLast: number;
  readonly points: Point[];
}

/** More points than this would lie on the same pixels. Even: points are joined by pairs. */
export const MAX_POINTS = 320;

/** A line without points. */
export function emptySeries(): ThinSeries {
  return { perPoint: 1, inLast: 0, points: [] };
}

/** Adds a value behind the last. @mutates series */
export function addPoint(series: ThinSeries, x: number, y: number): void {
  const { points } = series;
  const last = points.at(-1);
  if (last !== undefined && series.inLast < series.perPoint) {
    const count = ++series.inLast;
    points[points.length - 1] = {
      x: last.x + (x - last.x) / count,
      y: last.y + (y - last.y) / count,
      low: Math.min(last.low ?? last.y, y),
      high: Math.max(last.high ?? last.y, y),
    };
    return;
  }
  if (points.length === MAX_POINTS) {
    for (let i = 0; i < MAX_POINTS; i += 2) {
      points[i / 2] = joined(points[i] as Point, points[i + 1] as Point);
    }
    points.length = MAX_POINTS / 2;
    series.perPoint *= 2;
  }
  series.inLast = 1;
  points.push({ x, y });
}

/** At most {@linkcode MAX_POINTS} points of a line: those of a short one as they are. */
export function thinPoints(points: readonly Point[]): readonly Point[] {
  if (points.length <= MAX_POINTS) return points;
  const series = emptySeries();
  for (const { x, y } of points) addPoint(series, x, y);
  return series.points;
}

/** A line in another unit. */
export function scaled({ perPoint, inLast, points }: ThinSeries, factor: number): ThinSeries {
  return {
    perPoint,
    inLast,
    points: points.map(({ x, y, low, high }) => ({
      x,
      y: y * factor,
      ...(low !== undefined && { low: low * factor }),
      ...(high !== undefined && { high: high * factor }),
    })),
  };
}

/** Two points of as many values each. */
function joined(a: Point, b: Point): Point {
  return {
    x: a.x / 2 + b.x / 2,
    y: a.y / 2 + b.y / 2,
    low: Math.min(a.low ?? a.y, b.low ?? b.y),
    high: Math.max(a.high ?? a.y, b.high ?? b.y),
  };
}
