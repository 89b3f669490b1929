// SPDX-License-Identifier: Apache-2.0
/** Numbers as people read them. */

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `1536` as `1.50 KiB`. */
export function formatBytes(bytes: number): string {
  let [value, unit] = [bytes, 0];
  // What two digits round to 1024 of a unit is one of the next.
  while (Math.round(value * 100) >= 102_400 && unit + 1 < BYTE_UNITS.length) {
    [value, unit] = [value / 1024, unit + 1];
  }
  return `${unit === 0 ? value : value.toFixed(2)} ${BYTE_UNITS[unit]}`;
}

/** The unit that {@linkcode formatBytes} takes for so many bytes, in bytes. */
export function byteUnit(bytes: number): number {
  const [, unit = "B"] = formatBytes(bytes).split(" ");
  return 1024 ** (BYTE_UNITS as readonly string[]).indexOf(unit);
}

/** What comes before a letter, the least that three digits round to the next one's, and it. */
const COUNT_UNITS = [[1e3, 999_500, "k"], [1e6, 999_500e3, "M"], [1e9, 999_500e6, "G"]] as const;

/** `1234567` as `1.23 M`. */
export function formatCount(count: number): string {
  if (count < 10_000) return String(Math.round(count));
  const [divisor, , unit] = COUNT_UNITS.find(([, end]) => count < end) ?? [1e12, Infinity, "T"];
  return `${(count / divisor).toPrecision(3)} ${unit}`;
}

/** `0.0375` as `3.8 %`. */
export function formatShare(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Seconds as `1 h 02 min`, `3 min 20 s` or `4.2 s`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor(whole % 3600 / 60)).padStart(2, "0")} min`;
}

/** Milliseconds as `12 ms`, from a second on as {@linkcode formatSeconds}. */
export function formatMilliseconds(ms: number): string {
  return ms < 999.5 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : formatSeconds(ms / 1000);
}

/** A loss, shown as text also when it is not finite. */
export function formatLoss(loss: number): string {
  return Number.isFinite(loss) ? loss.toFixed(4) : String(loss);
}
