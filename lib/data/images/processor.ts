// SPDX-License-Identifier: Apache-2.0
/** What `preprocessor_config.json` says a picture is made into, before a model sees it. */
import { throwIfAny } from "../../core/errors.ts";
import { isJsonObject } from "../../core/json.ts";
import { quotedValue } from "../../core/quoted.ts";
import type { Size } from "./image.ts";
import { type Filter, FILTERS } from "./resize.ts";

/** Steps from a picture to what a model is given, in this order; null where there is none. */
export interface ImageProcessor {
  /** To a size, or to a length of the shorter edge with the other in proportion. */
  readonly resize: { readonly to: Size | { readonly shortestEdge: number }; readonly filter: Filter } | null;
  /** The middle; what a picture lacks is black. */
  readonly centerCrop: Size | null;
  /** What levels of 0 to 255 are multiplied by; 1/255 mostly. */
  readonly rescale: number | null;
  /** (x - mean) / std, a channel each; one value stands for all. */
  readonly normalize: { readonly mean: readonly number[]; readonly std: readonly number[] } | null;
}

/** What a class of transformers takes where its file does not say. */
type Defaults = Readonly<Record<string, unknown>>;

const STANDARD = { do_resize: true, do_rescale: true, do_normalize: true, rescale_factor: 1 / 255 };
const HALVES = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };

const CLASSES: Readonly<Record<string, Defaults>> = {
  ViT: { ...STANDARD, ...HALVES, resample: 2, size: { height: 224, width: 224 } },
  DeiT: {
    ...STANDARD,
    ...HALVES,
    resample: 3,
    size: { height: 256, width: 256 },
    do_center_crop: true,
    crop_size: { height: 224, width: 224 },
  },
};

/** Of a picture's edge: more are no model's, and a mistake would take all memory. */
const MOST_EDGE = 8192;

/**
 * Reads the fields of a `preprocessor_config.json`.
 *
 * @param subject What is read, for errors
 * @throws {ValidationError} With every problem
 */
export function readProcessor(values: unknown, subject: string): ImageProcessor {
  const problems: string[] = [];
  const given = isJsonObject(values) ? values : {};
  if (!isJsonObject(values)) problems.push("It is no JSON object");
  const fields = { ...classDefaults(given, problems), ...withoutNulls(given) };
  const processor: ImageProcessor = {
    resize: flag(fields, "do_resize", problems)
      ? { to: targetSize(fields["size"], problems), filter: filterOf(fields["resample"], problems) }
      : null,
    centerCrop: flag(fields, "do_center_crop", problems) ? cropSize(fields["crop_size"], problems) : null,
    rescale: flag(fields, "do_rescale", problems) ? factor(fields["rescale_factor"], problems) : null,
    normalize: flag(fields, "do_normalize", problems)
      ? {
        mean: channelValues("image_mean", fields["image_mean"], -Infinity, problems),
        std: channelValues("image_std", fields["image_std"], 0, problems),
      }
      : null,
  };
  if (flag(fields, "do_pad", problems)) problems.push('Field "do_pad" is true, which is not supported');
  throwIfAny(subject, problems);
  return processor;
}

/** The size that every picture comes out with; null where it depends on the picture. */
export function outputSize({ resize, centerCrop }: ImageProcessor): Size | null {
  return centerCrop ?? (resize !== null && "height" in resize.to ? resize.to : null);
}

function withoutNulls(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}

/** `ViTImageProcessor`, `ViTImageProcessorFast`, or `ViTFeatureExtractor` of older files; ViT's where none is named. */
function classDefaults(values: Readonly<Record<string, unknown>>, problems: string[]): Defaults {
  const name = values["image_processor_type"] ?? values["feature_extractor_type"] ?? "ViTImageProcessor";
  const [, family = ""] = /^(.*?)(ImageProcessor(Fast|Pil)?|FeatureExtractor)$/.exec(String(name)) ?? [];
  if (Object.hasOwn(CLASSES, family)) return CLASSES[family] as Defaults;
  const known = Object.keys(CLASSES).map((known) => `${known}ImageProcessor`).join(" and ");
  problems.push(`Image processor ${quotedValue(name)} is not known; ${known} are`);
  return CLASSES["ViT"] as Defaults;
}

function flag(fields: Readonly<Record<string, unknown>>, name: string, problems: string[]): boolean {
  const value = fields[name] ?? false;
  if (typeof value === "boolean") return value;
  problems.push(`Field "${name}" is ${quotedValue(value)}, expected true or false`);
  return false;
}

function isEdge(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= MOST_EDGE;
}

const hasOnly = (value: Readonly<Record<string, unknown>>, ...names: readonly string[]): boolean =>
  Object.keys(value).length === names.length && names.every((name) => isEdge(value[name]));

/** `{height, width}`, `{shortest_edge}`, or one number for a square. */
function targetSize(value: unknown, problems: string[]): Size | { readonly shortestEdge: number } {
  const given = isJsonObject(value) ? withoutNulls(value) : {};
  if (hasOnly(given, "shortest_edge")) return { shortestEdge: given["shortest_edge"] as number };
  return fixedSize("size", value, '{"height", "width"}, {"shortest_edge"}', problems);
}

function cropSize(value: unknown, problems: string[]): Size {
  return fixedSize("crop_size", value, '{"height", "width"}', problems);
}

function fixedSize(name: string, value: unknown, forms: string, problems: string[]): Size {
  if (isEdge(value)) return { height: value, width: value };
  const given = isJsonObject(value) ? withoutNulls(value) : {};
  if (hasOnly(given, "height", "width")) return given as unknown as Size;
  problems.push(
    `Field "${name}" is ${quotedValue(value)}, expected ${forms} or one number, of 1 to ${MOST_EDGE} pixels`,
  );
  return { height: 1, width: 1 };
}

function filterOf(value: unknown, problems: string[]): Filter {
  const filter = typeof value === "number" ? FILTERS[value] : undefined;
  if (filter !== undefined) return filter;
  const known = FILTERS.map((name, number) => `${number} (${name})`).join(", ");
  problems.push(`Field "resample" is ${quotedValue(value)}, expected one of ${known}`);
  return "bilinear";
}

function factor(value: unknown, problems: string[]): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  problems.push(`Field "rescale_factor" is ${quotedValue(value)}, expected a number`);
  return 1;
}

function channelValues(name: string, value: unknown, above: number, problems: string[]): readonly number[] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  const fits = (x: unknown): x is number => typeof x === "number" && Number.isFinite(x) && x > above;
  if ((values.length === 1 || values.length === 3) && values.every(fits)) return values;
  const range = above === 0 ? " above 0" : "";
  problems.push(
    `Field "${name}" is ${quotedValue(value)}, expected a number${range} for each of 3 channels, or one`,
  );
  return [1];
}
