// SPDX-License-Identifier: Apache-2.0
/** A headless browser for the pages that meft writes. */
import puppeteer, { type Browser, type Page } from "puppeteer-core";

const NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"];

/** Path of a browser: `MEFT_BROWSER`, or one on the PATH; null when there is none. */
export function findBrowser(): string | null {
  const named = Deno.env.get("MEFT_BROWSER");
  if (named !== undefined) return named;
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  const paths = NAMES.flatMap((name) => folders.map((folder) => `${folder}/${name}`));
  return paths.find(isFile) ?? null;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** A page with everything that it complained about. */
export interface WatchedPage {
  readonly page: Page;
  /** Errors of scripts, console errors and warnings, refused requests. */
  readonly complaints: string[];
  /** Addresses that it asked for. */
  readonly requests: string[];
}

/** Opens a browser with one page for as long as `use` takes. */
export async function withPage(
  use: (watched: WatchedPage, browser: Browser) => Promise<void>,
  colorScheme: "light" | "dark" = "light",
): Promise<void> {
  const executablePath = findBrowser();
  if (executablePath === null) throw new Error("There is no browser");
  // Its sandbox needs rights that a container's root has not; the pages are our own.
  const browser = await puppeteer.launch({ executablePath, headless: true, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    const watched: WatchedPage = { page, complaints: [], requests: [] };
    page.on("pageerror", (error) => watched.complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warn") watched.complaints.push(message.text());
    });
    page.on("requestfailed", (request) => {
      watched.complaints.push(`${request.url()} failed: ${request.failure()?.errorText}`);
    });
    page.on("request", (request) => watched.requests.push(request.url()));
    await page.setViewport({ width: 1280, height: 900 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: colorScheme }]);
    await use(watched, browser);
  } finally {
    await browser.close();
  }
}
