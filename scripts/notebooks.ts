// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task notebooks`: type-checks every notebook and executes it headless, in a Deno kernel of our own, outside the
 * repository. Needs nbclient from Debian's packages; without it the notebooks are reported as skipped.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBuilt } from "./build.ts";
import { type Counts, formatCounts } from "./counts.ts";
import { helpIfAsked } from "./help.ts";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FOLDER = join(ROOT, "notebooks");
const RUNNER = join(ROOT, "scripts", "run_notebook.py");
const KERNEL = "meft_deno";
/** Debian's own python has Debian's packages; another one may stand before it in PATH. */
const PYTHONS = ["/usr/bin/python3", "python3"];
const HOW_TO_RUN = "apt-get install -y --no-install-recommends jupyter-nbconvert jupyter-client";

interface Cell {
  readonly cell_type: string;
  readonly source: string | readonly string[];
  readonly outputs?: readonly unknown[];
  readonly execution_count?: number | null;
}

interface Notebook {
  readonly name: string;
  readonly path: string;
  readonly cells: readonly Cell[];
}

async function readNotebooks(): Promise<Notebook[]> {
  const names = [...Deno.readDirSync(FOLDER)].map(({ name }) => name).filter((name) =>
    name.endsWith(".ipynb")
  );
  return await Promise.all(
    names.sort().map(async (name) => {
      const path = join(FOLDER, name);
      return { name, path, cells: JSON.parse(await Deno.readTextFile(path)).cells };
    }),
  );
}

/** Results belong to a run, not to the repository. */
function carriesOutputs({ cells }: Notebook): boolean {
  return cells.some((cell) => (cell.outputs?.length ?? 0) > 0 || (cell.execution_count ?? null) !== null);
}

async function runDeno(args: readonly string[]): Promise<boolean> {
  return (await new Deno.Command(Deno.execPath(), { args: [...args] }).spawn().status).success;
}

/** The kernel itself does not check types, so the cells are checked as one module each. */
function checkTypes(notebook: Notebook, workFolder: string): Promise<boolean> {
  const path = join(workFolder, notebook.name.replace(/\.ipynb$/, ".ts"));
  const code = notebook.cells.filter(({ cell_type }) => cell_type === "code")
    .map(({ source }) => typeof source === "string" ? source : source.join(""));
  Deno.writeTextFileSync(path, code.join("\n"));
  return runDeno(["check", "--quiet", "--config", join(ROOT, "deno.json"), path]);
}

/** A Python that can run notebooks, or null. */
async function findPython(): Promise<string | null> {
  for (const python of PYTHONS) {
    try {
      const args = ["-c", "import nbclient, nbformat, jupyter_client"];
      const { success } = await new Deno.Command(python, { args, stderr: "null" }).output();
      if (success) return python;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return null;
}

/** A kernel that is this very Deno, where only our own run finds it. Returns the environment that names it. */
function installKernel(workFolder: string): Record<string, string> {
  const folder = join(workFolder, "jupyter", "kernels", KERNEL);
  Deno.mkdirSync(folder, { recursive: true });
  const argv = [Deno.execPath(), "jupyter", "--quiet", "--kernel", "--conn", "{connection_file}"];
  const spec = { argv, display_name: "Deno", language: "typescript" };
  Deno.writeTextFileSync(join(folder, "kernel.json"), JSON.stringify(spec));
  return {
    JUPYTER_PATH: join(workFolder, "jupyter"),
    JUPYTER_RUNTIME_DIR: join(workFolder, "runtime"),
    JUPYTER_CONFIG_DIR: join(workFolder, "config"),
    IPYTHONDIR: join(workFolder, "ipython"),
    NO_COLOR: "1",
    RUST_BACKTRACE: "0",
  };
}

async function execute(notebook: Notebook, python: string, workFolder: string): Promise<boolean> {
  const copy = join(workFolder, notebook.name);
  await Deno.copyFile(notebook.path, copy);
  const { success } = await new Deno.Command(python, {
    args: ["-B", RUNNER, copy, copy, KERNEL, FOLDER],
    env: installKernel(workFolder),
  }).spawn().status;
  return success;
}

/** Why a notebook is not good, or null. */
async function problemOf(
  notebook: Notebook,
  python: string | null,
  workFolder: string,
): Promise<string | null> {
  if (carriesOutputs(notebook)) return "carries outputs: clear them before it is committed";
  if (!await checkTypes(notebook, workFolder)) return "does not type-check";
  if (python && !await execute(notebook, python, workFolder)) return "failed while it ran";
  return null;
}

/** Checks and executes every notebook. */
export async function runNotebooks(): Promise<Counts> {
  const python = await findPython();
  const workFolder = await Deno.makeTempDir({ prefix: "notebooks-" });
  const counts = { passed: 0, failed: 0, skipped: 0 };
  try {
    for (const notebook of await readNotebooks()) {
      const start = performance.now();
      const problem = await problemOf(notebook, python, workFolder);
      const seconds = `(${((performance.now() - start) / 1000).toFixed(1)} s)`;
      if (problem) console.log(`FAIL notebooks/${notebook.name} ${problem} ${seconds}`);
      else if (python) console.log(`ok   notebooks/${notebook.name} ${seconds}`);
      else console.log(`skip notebooks/${notebook.name} type-checked, not executed; needs ${HOW_TO_RUN}`);
      counts[problem ? "failed" : python ? "passed" : "skipped"]++;
    }
  } finally {
    await Deno.remove(workFolder, { recursive: true });
  }
  return counts;
}

if (import.meta.main) {
  helpIfAsked("notebooks");
  await ensureBuilt();
  const counts = await runNotebooks();
  console.log(formatCounts(counts));
  Deno.exit(counts.failed > 0 ? 1 : 0);
}
