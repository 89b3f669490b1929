// SPDX-License-Identifier: Apache-2.0
/** Draws the README's picture of the study: `deno run -A scripts/study/facts/picture.ts runs/study scripts/study/facts/picture.svg`. */
import { plotStudy } from "../../../lib/report/ablation_charts.ts";

/** Parts of the study with what they are drawn against, from top to bottom. */
const CHARTS = [
  { part: "size of the adapter", x: "trainedParameters" },
  { part: "neurons a token may fire", x: "topK" },
  { part: "number of Key-Experts", x: "experts" },
] as const;
const WIDTH = 640;
const GAP = 14;

const [folder = "runs/study", path = "scripts/study/facts/picture.svg"] = Deno.args;
let top = 0;
const placed: string[] = [];
for (const choice of CHARTS) {
  const { svg } = await plotStudy(folder, choice);
  placed.push(svg.replace("<svg ", `<svg y="${top}" `));
  top += Number(/ height="(\d+)"/.exec(svg)?.[1]) + GAP;
}
await Deno.writeTextFile(
  path,
  `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${top}" viewBox="0 0 ${WIDTH} ${top}" ` +
    `color="#1a202c"><rect width="100%" height="100%" fill="white"/>${placed.join("")}</svg>\n`,
);
console.log(`${CHARTS.length} charts in ${path}`);
