// SPDX-License-Identifier: Apache-2.0
/** The streams of a device as links and clock see them. */
import type { DeviceStreams, StreamEvent } from "../../native/device_streams.ts";
import { clockedLink, type DeviceClock, deviceClock } from "../device_clock.ts";
import type { LinkDevice } from "../host_link.ts";

/** The clock of these streams. */
export function streamClock(streams: DeviceStreams): DeviceClock {
  return deviceClock<StreamEvent>({
    timedEvent: () => streams.event(true),
    record: (stream, event) => streams.record(stream, event),
    hostWaits: (event) => streams.hostWaits(event),
    elapsedMs: (begin, end) => streams.elapsedMs(begin, end),
  });
}

/** What links need of these streams; what they copy and wait for is put down to the clock. */
export function linkDevice(streams: DeviceStreams, clock: DeviceClock): LinkDevice<StreamEvent> {
  const device: LinkDevice<StreamEvent> = {
    pinned(stream, bytes, old) {
      if (old !== null) streams.releasePinned(old);
      return streams.reservePinned(bytes, stream);
    },
    copy: (stream, to, from) => streams.copy(stream, to, from),
    record(stream, again) {
      const event = again ?? streams.event();
      streams.record(stream, event);
      return event;
    },
    streamWaits: (stream, event) => streams.streamWaits(stream, event),
    hostWaits: (event) => streams.hostWaits(event),
  };
  return clockedLink(device, clock);
}
