// SPDX-License-Identifier: Apache-2.0
/** Contract cases of activations, alone and as gates, from tail to tail. */
import type { ActivationKind } from "../../../lib/ops/kernels/model.ts";
import { activationOf, normalCdf, sigmoid } from "../../../lib/ops/reference/activation.ts";
import type { ActivationArray } from "../../../lib/tensor/tensor.ts";
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { now } from "../../now.ts";
import { FLOATS, outputMagnitudes, type Storage, STORAGES } from "./storage.ts";

const COUNTS = [0, 1, 3, 15, 17, 1009, 40_009];
/** Of all kinds, as `meft.h` numbers them. */
export const ACTIVATION_KINDS: readonly ActivationKind[] = [
  ...(["identity", "relu", "silu", "gelu"] as const),
  ...(["gelu_tanh", "quick_gelu", "tanh", "sigmoid"] as const),
];

/** Where a kind takes the logistic function: how much a rounding of that argument counts. */
const BENT: Partial<Record<ActivationKind, (x: number) => number>> = {
  quick_gelu: (x) => 1.702 * x,
  gelu_tanh: (x) => 2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3),
};
const bent = (kind: ActivationKind, x: number): number => Math.abs(BENT[kind]?.(x) ?? 0);

const slopeOf = (kind: ActivationKind, x: number): number => activationOf(kind).pull(1, x);

/** Sums of the terms of f'(x), by size. */
const SLOPE_TERMS: Readonly<Record<ActivationKind, (x: number) => number>> = {
  identity: () => 1,
  relu: () => 1,
  silu: (x) => sigmoid(x) * (1 + Math.abs(x) * sigmoid(-x)),
  quick_gelu: (x) => sigmoid(1.702 * x) * (1 + Math.abs(1.702 * x) * sigmoid(-1.702 * x)),
  gelu: (x) => normalCdf(x) + Math.abs(x) * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI),
  gelu_tanh: (x) => {
    const [at, steep] = [BENT.gelu_tanh!(x), 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x)];
    return sigmoid(at) * (1 + Math.abs(x) * sigmoid(-at) * steep);
  },
  tanh: (x) => slopeOf("tanh", x),
  sigmoid: (x) => slopeOf("sigmoid", x),
};

/** e^x below e^-87 may be flushed to 0; what multiplies it stays below 2^10. */
const SMALLEST = 2 ** -93;
const TAILS = [-200, 200, -88, 88.5, 0, -0, -12.5, -6.25, 0.62, -0.63, 5, 13.25, 2 ** -70, -3e-5].map(
  Math.fround,
);

/** Numbers of both signs, and in the last places those deep in the tails. */
function points(stage: Stage, count: number, storage: Storage): ActivationArray {
  if (storage !== FLOATS || count < 40) return storage.input(stage, "x", count, 4);
  return stage.values([...now(stage.k.read(stage.normal("x", count - TAILS.length, 4))), ...TAILS]);
}

/** One call of either pass. */
interface Call {
  readonly kind: ActivationKind;
  readonly count: number;
  readonly gated: boolean;
  readonly inPlace: boolean;
  readonly storage: Storage;
}

function forward(stage: Stage, { kind, count, gated, inPlace, storage }: Call): Outputs {
  const x = points(stage, count, storage);
  const y = inPlace ? x : storage.output(stage, count);
  stage.k.activationForward(y, x, gated ? storage.input(stage, "up", count) : null, kind);
  return { y };
}

function backward(stage: Stage, { kind, count, gated, inPlace, storage }: Call): Outputs {
  const x = points(stage, count, storage);
  const up = gated ? storage.input(stage, "up", count) : null;
  const dx = inPlace ? x : storage.output(stage, count);
  const dup = up && (inPlace ? up : storage.output(stage, count));
  stage.k.activationBackward(dx, dup, storage.input(stage, "dy", count), x, up, kind);
  return dup ? { dx, dup } : { dx };
}

function magnitudes(stage: Stage, { kind, count, gated, storage }: Call): Outputs {
  const at = (name: string): (i: number) => number => {
    const drawn = absolute(stage.normal(name, count));
    return (i) => drawn[i] as number;
  };
  const x = points(stage, count, storage);
  const [up, dy] = [gated ? at("up") : () => 1, at("dy")];
  const sized = (size: (x: number, i: number) => number): Float64Array =>
    Float64Array.from(x, (value, i) => size(value, i) * (1 + bent(kind, value) / 4) + SMALLEST);
  const value = (x: number): number => Math.abs(activationOf(kind).times(1, x));
  return {
    y: sized((x, i) => value(x) * up(i)),
    dx: sized((x, i) => SLOPE_TERMS[kind](x) * dy(i) * up(i)),
    dup: sized((x, i) => value(x) * dy(i)),
  };
}

function casesOf(call: Call): KernelCase[] {
  const { kind, count, gated, inPlace, storage } = call;
  const exact = !gated && (kind === "identity" || kind === "relu");
  const label = `of ${gated ? "gated " : ""}${kind}, ${count} ${storage.label}${inPlace ? " in place" : ""}`;
  return [
    {
      name: `activationForward() ${label}`,
      run: (stage) => forward(stage, call),
      ...(!exact && { magnitudes: (stage: Stage) => magnitudes(stage, call) }),
      ...(kind.includes("gelu") && { multiple: 8 }), // as meft.h says of f; a product is one rounding more
    },
    {
      name: `activationBackward() ${label}`,
      run: (stage) => backward(stage, call),
      ...(!exact && { magnitudes: (stage: Stage) => magnitudes(stage, call) }),
      multiple: kind === "silu" ? 8 : 12, // f' is a product of such values
    },
  ];
}

/** NaN stays, and what is far out ends at its limit. */
function extremes(stage: Stage, kind: ActivationKind): Outputs {
  const x = [NaN, 1e30, -1e30, -0];
  const [y, dx] = [stage.output(x.length), stage.output(x.length)];
  stage.k.activationForward(y, stage.values(x), null, kind);
  stage.k.activationBackward(dx, null, stage.values(x.map(() => 1)), stage.values(x), null, kind);
  return { y, dx };
}

/** Cases of this family. */
export const activationCases: readonly KernelCase[] = ACTIVATION_KINDS.flatMap((kind) => [
  {
    name: `activationForward() and activationBackward() of ${kind} keep NaN and end at their limits`,
    run: (stage: Stage) => extremes(stage, kind),
    magnitudes: outputMagnitudes,
  },
  ...COUNTS.flatMap((count) =>
    STORAGES.flatMap((storage) =>
      // Large arrays, which are shared between threads, once.
      (count > 9999 && storage !== FLOATS ? [] : [false, true]).flatMap((gated) =>
        casesOf({ kind, count, gated, inPlace: count % 2 === 1 && count > 9, storage })
      )
    )
  ),
]);
