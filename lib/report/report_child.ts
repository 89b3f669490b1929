// SPDX-License-Identifier: Apache-2.0
/** Starts the process that writes a run's report, now and then or for as long as the run goes on. */
import { basename, dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../core/errors.ts";
import { isThereSync } from "../files/read.ts";
import { denoProgram, startProgram } from "../native/tools.ts";

/** A report kept fresh by another process. */
export interface ReportChild {
  /** Where a browser finds the page; null when it is not served. */
  readonly url: string | null;
  /** Called after a step: has the page written anew when that is due. Waits for nothing. */
  refresh(): void;
  /** Has the page written a last time. @throws {UserError} When that failed, with the reason */
  finish(): Promise<void>;
}

/** Often enough to look in on a run of hours; a page that is watched is renewed as it changes. */
const REFRESH_MS = 30_000;
/** Soon enough for someone who has just started a run, too late for one that is over by then. */
const FIRST_MS = 5000;

/**
 * Writes the page from time to time.
 *
 * @param now A clock in milliseconds     @param write Writes the page; for tests
 */
export function refreshReport(
  folder: string,
  now: () => number = () => performance.now(),
  write: (folder: string) => Promise<void> = writeInProcess,
): ReportChild {
  let dueMs = now() + FIRST_MS;
  let underWay: Promise<void> | null = null;
  return {
    url: null,
    refresh() {
      if (underWay !== null || now() < dueMs) return;
      dueMs = now() + REFRESH_MS;
      // What keeps the page from being written will keep the last one from it too, and is said then.
      underWay = write(folder).catch(() => {}).finally(() => underWay = null);
    },
    async finish() {
      await underWay;
      await write(folder);
    },
  };
}

async function writeInProcess(folder: string): Promise<void> {
  const { code, stderr } = await start(folder).output();
  if (code !== 0) throw asError(new TextDecoder().decode(stderr));
}

/**
 * Serves the page on 127.0.0.1 until the run ends, however it does.
 *
 * @param port 0 for any that is free
 * @throws {UserError} When the port cannot be had
 */
export async function serveReport(folder: string, port: number): Promise<ReportChild> {
  const child = start(folder, port);
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value: url } = await reader.read();
  reader.releaseLock();
  if (url === undefined) throw asError(await failureOf(child));
  const failure = failureOf(child);
  return {
    url: url.trim(),
    refresh: () => {},
    async finish() {
      await child.stdin.close().catch(() => {});
      const { code } = await child.status;
      if (code !== 0) throw asError(await failure);
    },
  };
}

/** What a process said before it ended. */
async function failureOf(child: Deno.ChildProcess): Promise<string> {
  return await new Response(child.stderr).text();
}

function asError(said: string): UserError {
  const [first = "", ...lines] = said.trim().split("\n");
  return new UserError(first, { lines });
}

function start(folder: string, port?: number): Deno.ChildProcess {
  const script = fileURLToPath(new URL("./report_process.ts", import.meta.url));
  const path = resolve(folder);
  const { cwd, writable } = writeScope(path);
  return startProgram(denoProgram(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--allow-read",
      `--allow-write=${writable}`,
      ...(port === undefined ? [] : [`--allow-net=127.0.0.1`]),
      script,
      path,
      ...(port === undefined ? [] : [String(port)]),
    ],
    cwd,
    stdin: port === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  });
}

/**
 * Where the process starts, and what below that it may write: the folder. Deno parts paths of a permission at commas, whose
 * names have no other spelling, so what is there already is said by where the process is; of a folder yet to be made that has
 * a comma in its name, the one around it.
 */
function writeScope(folder: string): { readonly cwd: string; readonly writable: string } {
  const missing: string[] = [];
  let cwd = folder;
  for (; !isThereSync(cwd); cwd = dirname(cwd)) missing.unshift(basename(cwd));
  const comma = missing.findIndex((name) => name.includes(","));
  return { cwd, writable: [".", ...missing.slice(0, comma < 0 ? missing.length : comma)].join("/") };
}
