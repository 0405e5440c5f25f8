// How the bus stands, with rates: two answers of GetBusStatus make events a second.

import { every, get } from "./api.js";
import { domainOf, seconds } from "./words.js";

export const PERIOD_MS = 2000;

/** Hands `onStatus` the bus every two seconds until the signal; `onProblem` when it cannot be asked. */
export function watchBus(signal, onStatus, onProblem) {
  let before = null;
  return every(PERIOD_MS, signal, async () => {
    try {
      const asked = performance.now();
      const { streams = [] } = await get("/v1/bus", { signal });
      const now = { at: asked, streams: streams.map(read) };
      onStatus(withRates(now, before));
      before = now;
    } catch (error) {
      if (!signal.aborted) onProblem(error);
    }
  });
}

function read(stream) {
  const last = Number(stream.lastOrdinal ?? 0);
  return {
    name: stream.stream, domain: domainOf(stream.stream), last, length: Number(stream.length ?? 0),
    lastTime: stream.lastTime, stopped: stream.stopped ?? "",
    groups: (stream.groups ?? []).map((group) => ({
      name: group.group, stream: stream.stream, consumers: group.consumers ?? 0, lag: Number(group.lag ?? 0),
      pending: Number(group.pending ?? 0), age: seconds(group.oldestAge), dead: Number(group.deadLetters ?? 0),
      given: last - Number(group.lag ?? 0),
    })),
  };
}

function withRates(now, before) {
  const elapsed = before ? (now.at - before.at) / 1000 : 0;
  const perSecond = (is, was) => (elapsed && was !== undefined ? Math.max(0, is - was) / elapsed : 0);
  const streamsBefore = new Map((before?.streams ?? []).map((stream) => [stream.name, stream]));
  for (const stream of now.streams) {
    const was = streamsBefore.get(stream.name);
    stream.rate = perSecond(stream.last, was?.last);
    for (const group of stream.groups) group.rate = perSecond(group.given, was?.groups.find((one) => one.name === group.name)?.given);
  }
  return { streams: now.streams, groups: byGroup(now.streams) };
}

/** Sums what the groups have on all the streams that each reads. */
function byGroup(streams) {
  const groups = new Map();
  for (const part of streams.flatMap((stream) => stream.groups)) {
    const sum = groups.get(part.name) ?? { name: part.name, streams: [], consumers: 0, lag: 0, pending: 0, age: 0, dead: 0, rate: 0 };
    sum.streams.push(part.stream);
    sum.consumers = Math.max(sum.consumers, part.consumers);
    sum.age = Math.max(sum.age, part.age);
    for (const name of ["lag", "pending", "dead", "rate"]) sum[name] += part[name];
    groups.set(part.name, sum);
  }
  return [...groups.values()].sort((one, other) => one.name.localeCompare(other.name));
}

/** Says how a group does: by the age of what it owes, not by its count. */
export function groupState(group) {
  if (!group.consumers) return ["bad", "no consumer"];
  if (group.age > 30) return ["bad", "far behind"];
  if (group.dead) return ["warn", "dead letters"];
  if (group.age > 5) return ["warn", "behind"];
  return ["good", "up to date"];
}
