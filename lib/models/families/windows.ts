// SPDX-License-Identifier: Apache-2.0
/** Sliding windows by layer, as the families read them. */
import {
  booleanField,
  type ConfigFields,
  givenField,
  integerField,
  isPresent,
  problem,
  rawField,
} from "../config_fields.ts";

/** What transformers takes for a window that is not given; null means none. */
const DEFAULT_WINDOW = 4096;
/** What transformers takes for `max_window_layers` that is not given. */
const DEFAULT_FULL_LAYERS = 28;

const FULL = "full_attention";
const SLIDING = "sliding_attention";
/** Names of older writers. */
const LEGACY_TYPES: Readonly<Record<string, string>> = { attention: FULL };

/**
 * Windows of a family whose layers all see everything: none. `layer_types`, when given, must say so, and a window must reach
 * over all positions, as transformers reads it for the cache of such a model and not for its forward pass. @mutates fields
 */
export function noWindows(fields: ConfigFields, layers: number, maxPositions: number): number[] {
  if (readLayerTypes(fields, layers)?.includes(SLIDING)) {
    problem(fields, "layer_types", `"${FULL}" throughout`, null);
  }
  const { window } = readWindow(fields, null);
  const enabled = booleanField(fields, "use_sliding_window", true);
  rawField(fields, "max_window_layers");
  if (enabled && window > 0 && window < maxPositions) {
    const wanted = `null, or at least the ${maxPositions} of max_position_embeddings: ` +
      "layers of this family have no window";
    problem(fields, "sliding_window", wanted, null);
  }
  return new Array<number>(layers).fill(0);
}

/** Windows of phi3: of all layers when one is given, whatever the other fields say. @mutates fields */
export function sameWindows(fields: ConfigFields, layers: number): number[] {
  ["use_sliding_window", "max_window_layers"].forEach((name) => rawField(fields, name));
  const { window } = readWindow(fields, null);
  checkTypes(fields, readLayerTypes(fields, layers), window, "sliding_window is null");
  return new Array<number>(layers).fill(window);
}

/** Windows of mistral: of all layers, or of those that `layer_types` names, as transformers' ministral. @mutates fields */
export function alwaysWindows(fields: ConfigFields, layers: number): number[] {
  const { window, isGiven } = readWindow(fields, DEFAULT_WINDOW);
  if (isGiven && window === 0) problem(fields, "sliding_window", "null or at least 1", null);
  // Fields of the qwen families: their makers' tools write them beside a window that is used all the same.
  ["use_sliding_window", "max_window_layers"].forEach((name) => rawField(fields, name));
  const types = readLayerTypes(fields, layers);
  checkTypes(fields, types, window, "sliding_window is null");
  return Array.from({ length: layers }, (_, i) => types === null || types[i] === SLIDING ? window : 0);
}

/**
 * Windows of the qwen families: `layer_types` when given, else of the layers that `slides` says; none at all unless
 * `use_sliding_window`.
 *
 * @param slides Given `max_window_layers`. Default: sliding from that layer on     @mutates fields
 */
export function optionalWindows(
  fields: ConfigFields,
  layers: number,
  slides: (layer: number, maxWindowLayers: number) => boolean = (layer, first) => layer >= first,
): number[] {
  const enabled = booleanField(fields, "use_sliding_window", false);
  const types = readLayerTypes(fields, layers);
  let [window, maxWindowLayers] = [0, 0];
  if (enabled) {
    window = readWindow(fields, DEFAULT_WINDOW).window;
    maxWindowLayers = integerField(fields, "max_window_layers", { missing: DEFAULT_FULL_LAYERS });
  } else ["sliding_window", "max_window_layers"].forEach((name) => rawField(fields, name));
  checkTypes(fields, types, window, "use_sliding_window is off or sliding_window null");
  return Array.from({ length: layers }, (_, layer) => {
    const sliding = types === null ? slides(layer, maxWindowLayers) : types[layer] === SLIDING;
    return sliding ? window : 0;
  });
}

/** Layers that slide, by `layer_types` or by a family's rule where that is absent, and their window. @mutates fields */
export function typedWindows(
  fields: ConfigFields,
  layers: number,
  { missing, slides }: { readonly missing: number | null; readonly slides: (layer: number) => boolean },
): number[] {
  const { window } = readWindow(fields, missing);
  const types = readLayerTypes(fields, layers);
  checkTypes(fields, types, window, "sliding_window is null");
  return Array.from({ length: layers }, (_, layer) => {
    const sliding = types === null ? slides(layer) : types[layer] === SLIDING;
    return sliding ? window : 0;
  });
}

/** Whether layers have a window, by `layer_types` or by a family's rule where that is absent. @mutates fields */
export function layersThatSlide(
  fields: ConfigFields,
  layers: number,
  slides: (layer: number) => boolean,
): boolean[] {
  const types = readLayerTypes(fields, layers);
  return Array.from(
    { length: layers },
    (_, layer) => types === null ? slides(layer) : types[layer] === SLIDING,
  );
}

/** `sliding_window`: 0 for null; `missing`, or 0, when it is absent. @mutates fields */
function readWindow(fields: ConfigFields, missing: number | null): { window: number; isGiven: boolean } {
  const given = integerField(fields, "sliding_window", { min: 0, missing: null });
  const isGiven = given !== null;
  if (isPresent(fields, "sliding_window")) return { window: given ?? 0, isGiven };
  return { window: missing ?? 0, isGiven };
}

/** `layer_types`, or null when absent, or when the number of layers is wrong already. @mutates fields */
function readLayerTypes(fields: ConfigFields, layers: number): readonly string[] | null {
  const value = rawField(fields, "layer_types") ?? null;
  if (value === null || givenField(fields, "num_hidden_layers") !== layers) return null;
  const types = Array.isArray(value) ? value.map((type) => LEGACY_TYPES[String(type)] ?? type) : [];
  if (types.length === layers && types.every((type) => type === FULL || type === SLIDING)) return types;
  return problem(fields, "layer_types", `${layers} times "${FULL}" or "${SLIDING}"`, null);
}

/** @mutates fields.problems */
function checkTypes(
  fields: ConfigFields,
  types: readonly string[] | null,
  window: number,
  because: string,
): void {
  if (window > 0 || !types?.includes(SLIDING)) return;
  problem(fields, "layer_types", `no "${SLIDING}" while ${because}`, null);
}
