// SPDX-License-Identifier: Apache-2.0
/**
 * Where the time of a device's streams goes, read off pairs of timed events: the model's stream from `begin` to `end` without
 * its pauses, and every copy.
 */
import { andThen, type Awaitable } from "../core/awaitable.ts";
import type { DeviceStream, LinkDevice } from "./host_link.ts";

/** Milliseconds of one step, by the device's own clock. */
export interface DeviceTimes {
  /** The model's stream at work, and without work: because the host had not answered, or had given it none. */
  readonly modelMs: number;
  readonly modelWaitMs: number;
  /** Copies from the device to the host, and back. */
  readonly downMs: number;
  readonly upMs: number;
}

/** The clock of the streams of one device. Its calls only mark: none waits but what `end` returns. */
export interface DeviceClock {
  /** A step begins: what was marked before is forgotten. */
  begin(): void;
  /** The model's stream was given all that can be done before something comes from the host. */
  pause(): void;
  /** What the model's stream is given from now on is work again. */
  resume(): void;
  /** Marks what `work` gives to a stream. */
  timed(stream: "down" | "up", work: () => void): void;
  /** All work of the step was given: comes with its times when it is done. */
  end(): Awaitable<DeviceTimes>;
}

/** What a clock needs of a device. */
export interface ClockDevice<Event> {
  /** A new event that takes the time. */
  timedEvent(): Event;
  record(stream: DeviceStream, event: Event): void;
  hostWaits(event: Event): Awaitable<void>;
  /** Between two events that are done. */
  elapsedMs(begin: Event, end: Event): number;
}

/** Two marks of one stream. */
interface Span<Event> {
  readonly begin: Event;
  readonly end: Event;
}

/** A clock over a device. Events are used again in every step. */
export function deviceClock<Event>(device: ClockDevice<Event>): DeviceClock {
  const free: Event[] = [];
  const used: Event[] = [];
  const spans: Record<"pauses" | "down" | "up", Span<Event>[]> = { pauses: [], down: [], up: [] };
  let [begun, paused]: [Event | null, Event | null] = [null, null];
  const mark = (stream: DeviceStream): Event => {
    const event = free.pop() ?? device.timedEvent();
    used.push(event);
    device.record(stream, event);
    return event;
  };
  const forget = (): void => {
    free.push(...used.splice(0));
    for (const list of Object.values(spans)) list.length = 0;
    [begun, paused] = [null, null];
  };
  const resume = (): void => {
    if (paused === null) return;
    spans.pauses.push({ begin: paused, end: mark("model") });
    paused = null;
  };
  const total = (list: readonly Span<Event>[]): number =>
    list.reduce((sum, { begin, end }) => sum + device.elapsedMs(begin, end), 0);
  return {
    begin() {
      forget();
      begun = mark("model");
    },
    pause() {
      if (begun !== null) paused ??= mark("model");
    },
    resume,
    timed(stream, work) {
      if (begun === null) return work();
      const begin = mark(stream);
      work();
      spans[stream].push({ begin, end: mark(stream) });
    },
    end() {
      const first = begun;
      if (first === null) throw new Error("The clock of the device was not begun");
      resume();
      const last = (["model", "down", "up"] as const).map(mark) as [Event, Event, Event];
      return andThenAll(last.map((event) => () => device.hostWaits(event)), () => {
        const modelWaitMs = total(spans.pauses);
        const times = {
          modelMs: Math.max(0, device.elapsedMs(first, last[0]) - modelWaitMs),
          modelWaitMs,
          downMs: total(spans.down),
          upMs: total(spans.up),
        };
        forget();
        return times;
      });
    },
  };
}

/** The same device, whose copies and waits of the model's stream are put down to a clock. */
export function clockedLink<Event>(device: LinkDevice<Event>, clock: DeviceClock): LinkDevice<Event> {
  return {
    ...device,
    copy: (stream, to, from) => clock.timed(stream, () => device.copy(stream, to, from)),
    streamWaits(stream, event) {
      if (stream !== "model") return device.streamWaits(stream, event);
      clock.pause();
      device.streamWaits(stream, event);
      clock.resume();
    },
  };
}

/** Goes on when all waits are over, one after the other. */
function andThenAll<T>(waits: readonly (() => Awaitable<void>)[], next: () => T): Awaitable<T> {
  const [first, ...others] = waits;
  if (first === undefined) return next();
  return andThen(first(), () => andThenAll(others, next));
}
