// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { formatPlacements } from "../../../lib/report/placements.ts";

Deno.test("formatPlacements() shows each way with its step, what bounds it, and what travels", () => {
  const busyMs = { model: 40, host: 60.25, down: 2, up: 3 };
  const text = formatPlacements([
    {
      placement: "host",
      halves: 2,
      stepMs: 61.5,
      busyMs,
      bound: "host",
      downBytes: 2048,
      upBytes: 4096,
      deviceBytes: 0,
    },
  ]);
  const [head, , line] = text.split("\n");
  assert.match(head ?? "", /placement +halves +predicted step +bound by/);
  assert.match(
    line ?? "",
    /host +2 +61\.5 ms +host +40\.0 ms +60\.3 ms +2\.0 ms, 2\.00 KiB +3\.0 ms, 4\.00 KiB/,
  );
});
