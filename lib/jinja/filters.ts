// SPDX-License-Identifier: Apache-2.0
/** All filters and tests by name, and the filters of Jinja2 that are refused. */
import type { Environment } from "./environment.ts";
import { ITEM_FILTERS } from "./filters_items.ts";
import { NUMBER_FILTERS } from "./filters_numbers.ts";
import { TEXT_FILTERS } from "./filters_text.ts";
import { TESTS } from "./tests.ts";

export const ENVIRONMENT: Environment = {
  filters: new Map([...TEXT_FILTERS, ...ITEM_FILTERS, ...NUMBER_FILTERS]),
  tests: new Map(TESTS),
  refused: new Map([
    ["random", "the filter random is refused: the same data would give other tokens on every run"],
    ["urlize", "the filter urlize is not supported: it makes links of HTML"],
    ["pprint", "the filter pprint is not supported: use tojson(indent=2) or string"],
    ["wordwrap", "the filter wordwrap is not supported"],
  ]),
};
