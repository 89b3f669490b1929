// SPDX-License-Identifier: Apache-2.0
/** The GPU benchmark's bars, drawn from numbers that are given. */
import assert from "node:assert/strict";
import { type Cell, cellsOf, MINIATURE, rivalsOf, SEVEN_B, title } from "../../../scripts/bench/gpu/cells.ts";
import { hostBounds } from "../../../scripts/bench/gpu/host_bound.ts";
import type { CellResult } from "../../../scripts/bench/gpu/measure.ts";
import { judge, type Measured, type RivalResult } from "../../../scripts/bench/gpu/verdicts.ts";
import { summarize } from "../../../scripts/bench/statistics.ts";
import { createHostTimes } from "../../../lib/ops/host_times.ts";

const FROZEN_MS = 90;

/** A cell that meets every bar. */
function good(cell: Cell, changes: Partial<CellResult> = {}): CellResult {
  return {
    cell,
    trained: 1000,
    lossFirst: 1,
    stepMs: summarize([99]),
    frozenMs: summarize([FROZEN_MS]),
    speedShare: 0.91,
    busyMs: { model: FROZEN_MS, host: 50, down: 1, up: 1 },
    hostMs: { ...createHostTimes(), backward: 50 },
    downBytes: 1,
    upBytes: 1,
    peak: { total: 1.02e9, classes: {} },
    predictedDeviceBytes: 1e9,
    placement: { placement: cell.placement === "host" ? "host" : "device", halves: 1, cachedRows: 1 },
    predicted: null,
    on4090: null,
    ...changes,
  };
}

function rivals(ms: number): RivalResult[] {
  return rivalsOf(SEVEN_B).map((rival) => ({ ...rival, ms: [ms], bytes: 1, trained: 1, loss: 1 }));
}

const WANTED = cellsOf(SEVEN_B);

function measured(cells: readonly CellResult[], more: Partial<Measured> = {}): Measured {
  return {
    preset: SEVEN_B,
    timed: true,
    frozenBytes: Object.fromEntries(WANTED.map((cell) => [title(cell), 1e9])),
    contextBytes: 1e9,
    cells,
    rivals: rivals(200),
    wanted: WANTED,
    ...more,
  };
}

Deno.test("cellsOf() has every size of the bar, each once, those that decide the bars first", () => {
  const names = WANTED.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.equal(names.length, 3 * 2 * 4 * 3 + 3, "tokens, policies, r, and three ways; LoRA");
  for (const tokens of [512, 1024, 2048]) {
    for (const r of [1024, 4096, 8192, 32768]) {
      for (const policy of ["recompute", "store"]) {
        for (const how of ["a=1, host", "a=8, host", "a=8, cache"]) {
          assert.ok(names.includes(`${tokens} tokens, ${policy}, ${how} r=${r}`), names.join("\n"));
        }
      }
    }
  }
  assert.ok(WANTED[0]?.name.startsWith("1024 tokens, recompute"));
  assert.deepEqual(WANTED.map(({ stage }) => stage), WANTED.map(({ stage }) => stage).toSorted());
});

Deno.test("judge() finds every bar met when all cells are good, from all the cells there should be", () => {
  const verdicts = judge(measured(WANTED.map((cell) => good(cell))));
  assert.deepEqual([...new Set(verdicts.map(({ verdict }) => verdict))], ["met"]);
  for (const { bar, measured: found, wanted } of verdicts) assert.equal(found, wanted, bar);
});

Deno.test("judge() misses exactly the bar that one cell breaks, and names the cell", () => {
  const host = WANTED.find(({ placement, rows }) => placement === "host" && rows?.neurons === 4096) as Cell;
  const largest = WANTED.find(({ placement, rows }) =>
    placement === "host" && rows?.neurons === 32768
  ) as Cell;
  const cache = WANTED.find(({ placement }) => placement === "cache") as Cell;
  const broken: [Cell, Partial<CellResult>, string[]][] = [
    [host, { peak: { total: 1.031e9, classes: {} } }, ["GPU memory of placement host"]],
    [largest, { peak: { total: 1.0299e9, classes: {} } }, ["the same: largest r"]],
    [host, { stepMs: summarize([100]) }, ["step over its busiest lane"]],
    [host, { speedShare: 0.62 }, ["speed of placement host at r=4096"]],
    [cache, { speedShare: 0.89 }, ["speed of the best placement"]],
    [host, { speedShare: NaN }, ["speed of placement host at r=4096"]],
  ];
  for (const [cell, changes, bars] of broken) {
    const verdicts = judge(measured(WANTED.map((one) => good(one, one === cell ? changes : {}))));
    const missed = verdicts.filter(({ verdict }) => verdict === "missed");
    assert.equal(missed.length, bars.length, JSON.stringify(changes));
    missed.forEach(({ bar, where }, i) => {
      assert.ok(bar.startsWith(bars[i] as string), bar);
      assert.ok(where.startsWith(cell.name), where);
    });
  }
});

Deno.test("judge() compares tokens/s with PyTorch's, and 24 GB with the context in it", () => {
  const slow = judge(measured(WANTED.map((cell) => good(cell)), { rivals: rivals(95) }));
  const verdictOf = (verdicts: typeof slow, bar: string) =>
    verdicts.find((one) => one.bar.startsWith(bar))?.verdict;
  assert.equal(verdictOf(slow, "frozen model's tokens/s"), "met", "95 ms there, 90 ms here");
  assert.equal(verdictOf(slow, "LoRA's tokens/s"), "missed", "95 ms there, 99 ms here");
  const full = judge(measured(WANTED.map((cell) => good(cell)), { contextBytes: 23e9 }));
  assert.equal(verdictOf(full, "GPU bytes of placement host"), "missed");
});

Deno.test("judge() says not measured of what was not, and of all times of an emulated device", () => {
  for (const { verdict, value } of judge(measured([], { rivals: [] }))) {
    assert.deepEqual([verdict, value], ["not measured", null]);
  }
  const emulated = judge(measured(WANTED.map((cell) => good(cell)), { timed: false }));
  assert.deepEqual(emulated.map(({ verdict }) => verdict), [
    ...Array(3).fill("met"),
    ...Array(5).fill("not measured"),
  ]);
});

Deno.test("hostBounds() names the longest kernel of a step that the host bounds, and its share of the host's peak", () => {
  const limits = { f32Gflops: 100, bf16Gflops: 50, readGigabytes: 1, updateGigabytes: 1 };
  const cell = cellsOf(MINIATURE).find(({ placement }) => placement === "host") as Cell;
  const bound = good(cell, {
    busyMs: { model: 10, host: 11, down: 0, up: 0 },
    hostMs: { ...createHostTimes(), backward: 8, routing: 3 },
  });
  const [one, ...others] = hostBounds(MINIATURE, [bound, good(cell)], limits);
  assert.equal(others.length, 0, "the other is not bound by the host");
  // 2 layers of 16 tokens of width 32; 8 pairs of four products, and two routers' rows of two.
  const work = 2 * 2 * 16 * 32 * (4 * 8 + 2 * 2);
  assert.equal(one?.kernel, "backward");
  assert.ok(Math.abs((one?.rate ?? NaN) - work / 1e9 / 0.008) < 1e-12);
  assert.ok(Math.abs((one?.share ?? NaN) - work / 1e9 / 0.008 / 100) < 1e-12);
});
