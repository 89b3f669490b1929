// SPDX-License-Identifier: Apache-2.0
/** The README's table of the flags of `train`, read off their options: `deno run -A scripts/flag_table.ts` writes it. */
import { TRAIN_FLAGS } from "../lib/cli/flags/train.ts";
import { defaultText } from "../lib/core/options.ts";

const HEADING = "## Flags of `train`\n\n";

/** A text as a cell of a Markdown table. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

/** Head and rows: flag with its choices, what it is, what stands without it. */
function flagRows(): string[][] {
  const rows = TRAIN_FLAGS.map((flag) => {
    const values = flag.placeholder ?? choicesText(flag);
    const name = `\`--${flag.name}${values === undefined ? "" : ` ${values}`}\``;
    return [name, shortened(flag.help), defaultText(flag) ?? ""].map(cell);
  });
  return [["flag", "meaning", "default"], ...rows];
}

/** Its choices, unless what it is names them all. */
function choicesText(
  { choices, help }: { readonly choices?: readonly string[] | null; readonly help: string },
): string | undefined {
  return choices?.every((choice) => help.includes(choice)) ? undefined : choices?.join("|");
}

/** Characters of a cell that makes all rows wide. */
const WIDE = 300;

/** Without what stands between parentheses, where the whole is wide: the text above the table has it. */
function shortened(help: string): string {
  return help.length > WIDE ? help.replace(/ \([^)]*\)/g, "") : help;
}

/** The README with its table as the flags have it. `deno fmt` makes its columns even. */
export function withFlagTable(readme: string): string {
  const start = readme.indexOf(HEADING) + HEADING.length;
  const end = readme.indexOf("\n\n", start);
  const [head, ...rows] = flagRows().map((cells) => `| ${cells.join(" | ")} |`);
  return `${readme.slice(0, start)}${[head, "| --- | --- | --- |", ...rows].join("\n")}${readme.slice(end)}`;
}

if (import.meta.main) {
  const path = new URL("../README.md", import.meta.url);
  await Deno.writeTextFile(path, withFlagTable(await Deno.readTextFile(path)));
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", path.pathname] }).output();
}
