// SPDX-License-Identifier: Apache-2.0
/** Python's slices: value[start:stop:step]. */
import { typeError, valueError } from "./errors.ts";
import { spendCharacters, spendItems } from "./meter.ts";
import { indexOf } from "./numbers.ts";
import { codePointLength, codePoints, hasSurrogates, sliceCodePoints } from "./text.ts";
import { undefinedError } from "./undefined.ts";
import { List, Markup, Range, Tuple, typeName, type Value } from "./values.ts";

/** Bounds of a slice; null where the template gives none, or None. */
export interface Bounds {
  readonly start: Value;
  readonly stop: Value;
  readonly step: Value;
}

/** value[start:stop:step]. @throws {JinjaError} When the value has no slices, or a bound is no integer */
export function sliceOf(value: Value, bounds: Bounds): Value {
  if (typeof value === "string") return sliceText(value, bounds);
  if (value !== null && typeof value === "object") {
    switch (value.kind) {
      case "list":
        return new List(sliceItems(value.items, bounds));
      case "tuple":
        return new Tuple(sliceItems(value.items, bounds));
      case "markup":
        return new Markup(sliceText(value.text, bounds));
      case "range": {
        const [start, stop, step] = resolve(bounds, value.length);
        const at = (index: number) => value.start + index * value.step;
        return new Range(at(start), at(stop), value.step * step);
      }
      case "undefined":
        throw undefinedError(value);
      case "dict":
        throw typeError("unhashable type: 'slice'");
    }
  }
  throw typeError(`'${typeName(value)}' object is not subscriptable`);
}

const WRONG_BOUND = "slice indices must be integers or None or have an __index__ method";

/** Start, stop and step within a length, as Python's slice.indices() has them. */
function resolve({ start, stop, step }: Bounds, length: number): [start: number, stop: number, step: number] {
  const stride = step === null ? 1 : indexOf(step, WRONG_BOUND);
  if (stride === 0) throw valueError("slice step cannot be zero");
  const [lowest, highest] = stride < 0 ? [-1, length - 1] : [0, length];
  const clamp = (bound: Value, otherwise: number) => {
    if (bound === null) return otherwise;
    const index = indexOf(bound, WRONG_BOUND);
    return Math.min(highest, Math.max(lowest, index < 0 ? index + length : index));
  };
  return stride < 0
    ? [clamp(start, highest), clamp(stop, lowest), stride]
    : [clamp(start, lowest), clamp(stop, highest), stride];
}

function sliceItems(items: readonly Value[], bounds: Bounds): readonly Value[] {
  const [start, stop, step] = resolve(bounds, items.length);
  if (step === 1) {
    spendItems(Math.max(0, stop - start));
    return items.slice(start, Math.max(start, stop));
  }
  const taken: Value[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) taken.push(items[i] as Value);
  spendItems(taken.length);
  return taken;
}

function sliceText(text: string, bounds: Bounds): string {
  const [start, stop, step] = resolve(bounds, codePointLength(text));
  if (step === 1) {
    if (hasSurrogates(text)) spendCharacters(text.length);
    return sliceCodePoints(text, start, Math.max(start, stop));
  }
  const points = codePoints(text);
  let taken = "";
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) taken += points[i];
  return taken;
}
