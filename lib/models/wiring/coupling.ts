// SPDX-License-Identifier: Apache-2.0
/**
 * How two residual streams run through the layers of a model (Liao, Tan and Monz, "Make Pre-trained Model Reversible", NeurIPS
 * 2023): a layer takes (x1, x2) to (y1, y2), and its output tells its input.
 *
 *   y1 = lambda x1 + F(x2),  y2 = beta x2 + G(y1)        x2 = (y2 - G(y1)) / beta,  x1 = (y1 - F(x2)) / lambda
 *
 * Both streams begin as what enters the lowest coupled layer. F and G are made of the layer's own sublayers, residual paths
 * and norms included, and of the function that stands alone, whose adapters are hooks beside {@linkcode ALONE}. Where adapters
 * give 0 and the coefficient before the older stream is 0, one of the two is the plain model's.
 */
import type { Weight } from "../../tensor/tensor.ts";
import { branchOf, type Sublayer } from "../parts.ts";

/** The place of hooks on the function that stands alone: they see rms(x) and their sum is the function. */
export const ALONE = "alone";

/** What computes in a layer: a sublayer, or the function that stands alone. */
export type Computing = Sublayer | typeof ALONE;

/** A way to make F and G of a layer. */
export interface CouplingKind {
  /** Half a sentence, for people who choose. */
  readonly summary: string;
  /** What F and G are made of, in the order it computes in. A stack's layer may have several sublayers of attention. */
  functions(layer: readonly Sublayer[]): readonly [f: readonly Computing[], g: readonly Computing[]];
  /** Coefficients as published: which of the two stands before the older stream, and is far from 1. */
  readonly small: readonly ("lambda" | "beta")[];
  /** Whether the next layer is given (y2, y1). */
  readonly switched: boolean;
  /** Whether y1 or y2 is the plain model's stream where nothing else adds to it. */
  readonly model: "first" | "second";
  /** Which of the two ends in the product that costs most. */
  readonly larger: "f" | "g";
  /** Whether the function that stands alone is part of a layer; else attention has adapters behind it. */
  readonly alone: boolean;
}

/** The three of the paper. Adding one is an entry here. */
export const COUPLINGS = {
  meft1: {
    summary: "F is the layer, G a function of adapters alone",
    functions: (layer) => [layer, [ALONE]],
    small: ["lambda"],
    switched: true,
    model: "first",
    larger: "f",
    alone: true,
  },
  meft2: {
    summary: "F is a function of adapters alone, G the layer",
    functions: (layer) => [[ALONE], layer],
    small: ["beta"],
    switched: true,
    model: "second",
    larger: "g",
    alone: true,
  },
  meft3: {
    summary: "F is attention, G the feed-forward",
    functions: (layer) => [
      layer.filter((part) => branchOf(part) !== "ffn"),
      layer.filter((part) => branchOf(part) === "ffn"),
    ],
    small: ["lambda", "beta"],
    switched: false,
    model: "second",
    larger: "g",
    alone: false,
  },
} as const satisfies Record<string, CouplingKind>;

/** Name of a way to couple. */
export type CouplingName = keyof typeof COUPLINGS;

/** What the streams are kept as: floats, or int32 with so many fractional bits, which are undone to the bit. */
export type StreamForm = { readonly kind: "f32" } | { readonly kind: "exact"; readonly fraction: number };

/** A coupling of all layers of a model from one on; those below run plain, and without adapters. */
export interface Coupling {
  readonly of: CouplingKind;
  /** Powers of two, 1 to 2^-15, of exact streams. 0 cannot be undone. */
  readonly lambda: number;
  readonly beta: number;
  /** Whether the next layer is given (y2, y1). */
  readonly switched: boolean;
  readonly streams: StreamForm;
  /**
   * What the head's side reads: the mean of both streams, the model's stream alone, or that and alpha (1,1) times the other.
   */
  readonly top: "mean" | "stream" | { readonly alpha: Weight };
  /** The lowest coupled layer of each stack. */
  readonly lowest: number;
  /** Told the largest magnitude that was put in an exact stream, once a stack. Absent when nobody asks. */
  readonly seen?: (largest: number) => void;
}
