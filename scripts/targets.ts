// SPDX-License-Identifier: Apache-2.0
/** Reads `csrc/cpu/targets.def`, the one list of instruction sets, and writes it as TypeScript and as a C header. */

/** One instruction set that kernels are compiled for, as the list has it. */
export interface ListedTarget {
  readonly name: string;
  /** In the C ABI. */
  readonly number: number;
  readonly vectorLanes: number;
  readonly panelColumns: number;
  readonly multipliesBf16: boolean;
  readonly rowBlock: number;
  readonly depthBytes: number;
  readonly inTiles: boolean;
}

/**
 * Parses the text of `targets.def`, in its order.
 *
 * @throws {SyntaxError} When an entry has another form, or a name or number stands twice
 */
export function parseTargets(text: string): ListedTarget[] {
  const form = new RegExp(
    String
      .raw`^MEFT_TARGET\((\d+), ([a-z0-9_]+), (\d+), (\d+), ([01]), (\d+), (\d+), ([01]), "[^"]*",\s+"[^"]*",`,
    "gm",
  );
  const targets = [...text.matchAll(form)].map((found): ListedTarget => {
    const [, number, name, lanes, panel, bf16, rows, depth, tiles] = found;
    return {
      name: name as string,
      number: Number(number),
      vectorLanes: Number(lanes),
      panelColumns: Number(panel),
      multipliesBf16: bf16 === "1",
      rowBlock: Number(rows),
      depthBytes: Number(depth),
      inTiles: tiles === "1",
    };
  });
  const begun = text.match(/^MEFT_TARGET/gm)?.length ?? 0;
  if (targets.length !== begun) throw new SyntaxError(`Read ${targets.length} of ${begun} targets`);
  for (const key of ["name", "number"] as const) {
    if (new Set(targets.map((target) => target[key])).size < begun) {
      throw new SyntaxError(`Two targets have one ${key}`);
    }
  }
  return targets;
}

/** `lib/native/targets.ts`, but for its banner. */
export function targetsModule(targets: readonly ListedTarget[]): string {
  const entries = targets.map(({ name, ...facts }) =>
    `${name}: { ${Object.entries(facts).map(([fact, value]) => `${fact}: ${value}`).join(", ")} },\n`
  );
  return `/** The instruction sets that kernels are compiled for. */\n\n` +
    `/** Facts of an instruction set. */\nexport interface TargetFacts {\n` +
    `/** In the C ABI. */\nreadonly number: number;\n` +
    `/** Floats of a vector. */\nreadonly vectorLanes: number;\n` +
    `/** Columns of a matrix product that are computed at once. */\nreadonly panelColumns: number;\n` +
    `/** Whether cores multiply bf16 as it lies, faster than f32. */\nreadonly multipliesBf16: boolean;\n` +
    `/** Rows of a product that are cut at once. */\nreadonly rowBlock: number;\n` +
    `/** Bytes of a row of A between cuts of its terms. */\nreadonly depthBytes: number;\n` +
    `/** Whether bf16 is multiplied in matrix tiles. */\nreadonly inTiles: boolean;\n}\n\n` +
    `/** By name; the last one that a machine runs is its best. */\n` +
    `export const TARGET_FACTS = {\n${
      entries.join("")
    }} as const satisfies Readonly<Record<string, TargetFacts>>;\n\n` +
    `/** The one that every machine runs. */\nexport const BASELINE_TARGET = "${targets[0]?.name}";\n`;
}

/** `csrc/include/meft_targets.h`, but for its banner. */
export function targetsHeader(targets: readonly ListedTarget[]): string {
  const lines = targets.map(({ name, number }) => `#define MEFT_TARGET_${name.toUpperCase()} ${number}\n`);
  return `/* Numbers of the instruction sets that kernels are compiled for. */\n` +
    `#ifndef MEFT_TARGETS_H\n#define MEFT_TARGETS_H\n\n${lines.join("")}\n#endif\n`;
}
