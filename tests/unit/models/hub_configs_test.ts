// SPDX-License-Identifier: Apache-2.0
/** Configurations as people have them, read as transformers reads them (scripts/fixtures/make_configs.py). */
import assert from "node:assert/strict";
import { parseConfig } from "../../../lib/models/read_config.ts";
import type { ModelConfig } from "../../../lib/models/model.ts";
import { normsOf } from "../../../lib/models/part_tensors.ts";
import { lastStack, layersOf, lowestOf, partOf } from "../../../lib/models/parts.ts";
import type { Rotary } from "../../../lib/models/rotary.ts";
import { ropeFrequencies } from "../../../lib/models/rope.ts";
import { buildParts } from "../../../lib/models/families/registry.ts";

/** What transformers built. */
interface Reading {
  /** Shapes by name, those of all layers as `layers.*`. */
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly eps: number;
  readonly tied: boolean;
  readonly maxPositions: number;
  readonly bos: number | null;
  readonly eos: readonly number[];
  /** Runs of equal windows, and their lengths. */
  readonly windows: readonly (readonly [size: number, layers: number])[];
  readonly rope: Turning;
  /** Of layers that turn otherwise. */
  readonly localRope?: Turning;
}

/** Frequencies, by the length of a sequence. */
type Turning = readonly {
  readonly length: number;
  readonly attentionFactor: number;
  readonly inverse: readonly number[];
}[];

interface Entry {
  readonly name: string;
  readonly config: Record<string, unknown>;
  /** Null where transformers refuses the configuration. */
  readonly expected: Reading | null;
}

const entriesOf = (file: string): readonly Entry[] =>
  JSON.parse(Deno.readTextFileSync(new URL(`../../fixtures/configs/${file}`, import.meta.url)));

function read(fields: Record<string, unknown>): {
  readonly config: ModelConfig | null;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
} {
  const problems: string[] = [];
  const warnings: string[] = [];
  return { config: parseConfig(fields, problems, warnings), problems, warnings };
}

/** Our reading in the terms of {@linkcode Reading}, but for the frequencies. */
function readingOf(config: ModelConfig): Omit<Reading, "rope" | "localRope"> {
  const parameters: Record<string, readonly number[]> = {};
  const parts = buildParts(config, (name, rows, cols) => {
    const general = name.replace(/\.(layers|h)\.\d+\./, ".$1.*.");
    const shape = rows === null ? [cols] : [rows, cols];
    assert.deepEqual(parameters[general] ?? shape, shape, name);
    parameters[general] = shape;
    return name;
  });
  const layers = layersOf(parts);
  const attention = lowestOf(parts, "attention")!;
  const windows: [number, number][] = [];
  for (const size of layers.map((layer) => partOf(layer, "attention")!.window)) {
    const last = windows.at(-1);
    if (last?.[0] === size) last[1]++;
    else windows.push([size, 1]);
  }
  return {
    parameters,
    layers: layers.length,
    heads: attention.heads,
    keyValueHeads: attention.kvHeads,
    headDim: attention.headDim,
    eps: (lastStack(parts).finalNorm ?? normsOf(attention)[0])!.eps,
    tied: config.tieWordEmbeddings,
    maxPositions: config.maxPositionEmbeddings,
    bos: config.bosTokenId,
    eos: config.eosTokenIds,
    windows,
  };
}

/** The fixture has twelve digits; both sides are f64. */
const BOUND = 1e-11;

function assertReads(config: ModelConfig, { rope, localRope, ...sizes }: Reading): void {
  assert.deepEqual(readingOf(config), sizes);
  const { rotary } = buildParts(config, (name) => name);
  assertTurns(rotary["rotary"], rope);
  assertTurns(rotary["local"], localRope ?? []);
}

function assertTurns(rotary: Rotary | undefined, wanted: Turning): void {
  if (rotary === undefined) return assert.deepEqual(wanted, []);
  assert.ok(wanted.length > 0);
  for (const { length, attentionFactor, inverse } of wanted) {
    const found = ropeFrequencies(rotary, length);
    assert.equal(found.inverse.length, inverse.length);
    assert.ok(
      Math.abs(found.attentionFactor - attentionFactor) <= BOUND * attentionFactor,
      "attention factor",
    );
    inverse.forEach((wanted, i) => {
      const difference = Math.abs((found.inverse[i] as number) - wanted);
      assert.ok(
        difference <= BOUND * wanted,
        `pair ${i} at ${length}: ${found.inverse[i]}, expected ${wanted}`,
      );
    });
  }
}

for (const { name, config, expected } of entriesOf("hub.json")) {
  Deno.test(`a configuration as people have it is read as transformers reads it: ${name}`, () => {
    const { config: found, problems } = read(config);
    assert.deepEqual(problems, []);
    assertReads(found as ModelConfig, expected as Reading);
  });
}

/** What transformers reads, and then computes otherwise than the field says, or with what is not supported. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  "mlp-bias": /"mlp_bias" \(true\) is unknown/,
  "attention-bias": /"attention_bias" \(true\) is unknown/,
  "scaling-wins": /"rope_scaling" is .*, expected what rope_parameters says of "rope_type": keep one/,
  "window": /"sliding_window" is 3, expected null, or at least the 64 of max_position_embeddings/,
  "window-switched-on": /"sliding_window" is 3, expected null, or at least the 64/,
  "window-of-all": /"sliding_window" is 3, expected null, or at least the 64/,
  "layers-sliding-on": /"layer_types".* expected "full_attention" throughout/,
};

/** What transformers refuses for the type of a value or a missing default, and is plain enough to read. */
const READ_ALL_THE_SAME = new Set([
  ...[
    "heads-null",
    "head-dim-null",
    "yarn-factor-absent",
    "su",
    "window-zero",
    "layers-full",
    "partial-null",
  ],
]);

for (const { name, config, expected } of entriesOf("variants.json")) {
  const [family, ...rest] = name.split("-");
  const variant = rest.join("-");
  Deno.test(`a variant of a configuration is read as transformers reads it, or refused: ${name}`, () => {
    const { config: found, problems } = read(config);
    if (found !== null && expected !== null) return assertReads(found, expected);
    if (found !== null) return assert.ok(READ_ALL_THE_SAME.has(variant), "transformers refuses it");
    assert.ok(problems.length > 0);
    if (expected === null) return;
    assert.match(problems.join("\n"), REFUSED[variant] ?? /^$/, `${family} reads it`);
  });
}
