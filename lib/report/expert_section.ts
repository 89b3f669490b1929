// SPDX-License-Identifier: Apache-2.0
/** The part of a run's page about a sparse adapter: which experts the tokens go to, how many neurons still fire. */
import { type HeatCell, heatMap } from "./chart.ts";
import { formatShare } from "./format.ts";
import { figure, htmlTable, type Markup, markup, type PageSection } from "./html_page.ts";

/** More columns than this would be thinner than the eye can tell apart; experts then share one. */
const MAX_COLUMNS = 128;

/**
 * @param load (L,N): tokens of each expert of each layer     @param curves Of the neurons; null ones are left out
 * @returns Null for an adapter that has neither neurons nor experts
 */
export function expertSection(
  load: readonly (readonly number[])[] | null,
  curves: readonly (Markup | null)[],
): PageSection | null {
  if (load === null) return null;
  const experts = load[0]?.length ?? 0;
  const perColumn = Math.max(1, Math.ceil(experts / MAX_COLUMNS));
  const note =
    "Tokens that the router sent to each expert since the reading before, over the mean of the layer: " +
    `1 is an even load.${perColumn > 1 ? ` Each column is the mean of ${perColumn} experts.` : ""}`;
  const heat = heatMap(loadCells(load, perColumn), { x: "expert", y: "layer", value: "load" });
  const shown = [...curves, figure(heat, "Load of the experts, by layer", note)].filter((part) =>
    part !== null
  );
  const table = load.map((tokens, layer) => [String(layer), ...balance(tokens)]);
  return {
    id: "experts",
    heading: "Neurons and experts",
    body: [
      markup`<div class="figures">${shown}</div>`,
      htmlTable([["layer", "experts without a token", "busiest, of an even load", "evenness"], ...table]),
      markup`<p class="note">Evenness is the entropy of the load over that of an even one.</p>`,
    ],
  };
}

/** Load over the layer's mean, means of `perColumn` neighbours. */
export function loadCells(load: readonly (readonly number[])[], perColumn: number): HeatCell[] {
  return load.flatMap((tokens, layer) => {
    const mean = tokens.reduce((a, b) => a + b, 0) / Math.max(1, tokens.length);
    return Array.from({ length: Math.ceil(tokens.length / perColumn) }, (_, column) => {
      const part = tokens.slice(column * perColumn, (column + 1) * perColumn);
      const value = part.reduce((a, b) => a + b, 0) / part.length / (mean || 1);
      return { x: column * perColumn, y: layer, value };
    });
  });
}

/** Idle experts, the busiest one's load over the mean, and entropy over log N. */
export function balance(tokens: readonly number[]): [string, string, string] {
  const total = tokens.reduce((a, b) => a + b, 0);
  const idle = tokens.filter((count) => count === 0).length;
  if (total === 0) return [String(idle), "-", "-"];
  const busiest = tokens.reduce((most, count) => Math.max(most, count), 0);
  const entropy = tokens.reduce(
    (sum, count) => count === 0 ? sum : sum - count / total * Math.log(count / total),
    0,
  );
  const evenness = tokens.length === 1 ? 1 : entropy / Math.log(tokens.length);
  return [String(idle), `${(busiest * tokens.length / total).toFixed(2)}`, formatShare(evenness)];
}
