// SPDX-License-Identifier: Apache-2.0
/** Starts the process that writes a run's report, now and then or for as long as the run goes on. */
import { fileURLToPath } from "node:url";
import { UserError } from "../core/errors.ts";

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

/** Writes the page from time to time. @param now A clock in milliseconds */
export function refreshReport(folder: string, now: () => number = () => performance.now()): ReportChild {
  let dueMs = now() + FIRST_MS;
  let underWay: Promise<void> | null = null;
  const write = async () => {
    const { code, stderr } = await command(folder).output();
    if (code !== 0) throw new UserError(new TextDecoder().decode(stderr).trim());
  };
  return {
    url: null,
    refresh() {
      if (underWay !== null || now() < dueMs) return;
      dueMs = now() + REFRESH_MS;
      // What keeps the page from being written will keep the last one from it too, and is said then.
      underWay = write().catch(() => {}).finally(() => underWay = null);
    },
    async finish() {
      await underWay;
      await write();
    },
  };
}

/**
 * Serves the page on 127.0.0.1 until the run ends, however it does.
 *
 * @param port 0 for any that is free
 * @throws {UserError} When the port cannot be had
 */
export async function serveReport(folder: string, port: number): Promise<ReportChild> {
  const child = command(folder, port).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value: url } = await reader.read();
  reader.releaseLock();
  if (url === undefined) throw new UserError(await failureOf(child));
  const failure = failureOf(child);
  return {
    url: url.trim(),
    refresh: () => {},
    async finish() {
      await child.stdin.close().catch(() => {});
      const { code } = await child.status;
      if (code !== 0) throw new UserError(await failure);
    },
  };
}

/** What a process said before it ended. */
async function failureOf(child: Deno.ChildProcess): Promise<string> {
  return (await new Response(child.stderr).text()).trim();
}

function command(folder: string, port?: number): Deno.Command {
  const script = fileURLToPath(new URL("./report_process.ts", import.meta.url));
  const args = port === undefined ? [folder] : [folder, String(port)];
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--allow-read",
      `--allow-write=${folder}`,
      "--allow-net=127.0.0.1",
      script,
      ...args,
    ],
    stdin: port === undefined ? "null" : "piped",
    stdout: port === undefined ? "null" : "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  });
}
