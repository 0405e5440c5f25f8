// Streams and groups with what each owes, and for how long.

import { groupState, watchBus } from "../bus.js";
import { h, labelled, number, table } from "../dom.js";
import { ago, count, rate, short, span } from "../words.js";

export function render({ signal, argument }) {
  const filter = h("input", { type: "search", value: argument, placeholder: "trading, revenue_trackers …" });
  const problem = h("p", { class: "bad", role: "alert" });
  const groups = h("div"), streams = h("div");
  let bus = null;
  const draw = () => {
    if (!bus) return;
    const wanted = filter.value.trim().toLowerCase();
    const has = (text) => text.toLowerCase().includes(wanted);
    groups.replaceChildren(table("Consumer groups", ["Group", "State", "Behind", "Oldest", "In hand", "Dead letters", "Events/s", "Consumers", "Streams"],
      bus.groups.filter((group) => has(group.name) || group.streams.some(has)).map(groupRow), "No group by that name."));
    streams.replaceChildren(table("Streams", ["Stream", "Events/s", "Events ever", "In Redis", "Last event", "Groups", "State"],
      bus.streams.filter((stream) => has(stream.name) || stream.groups.some((group) => has(group.name))).map(streamRow), "No stream by that name."));
  };
  filter.addEventListener("input", draw);
  watchBus(signal, (now) => { bus = now; problem.textContent = ""; draw(); }, (error) => { problem.textContent = error.message; });
  return [h("div", { class: "row" }, labelled("Stream, group or domain", filter)), problem,
    h("h2", {}, "Groups"), groups, h("h2", {}, "Streams"), streams];
}

function groupRow(group) {
  const [state, words] = groupState(group);
  return [group.name, h("td", { class: state }, words), number(count(group.lag)), number(group.age ? span(group.age) : "–"),
    number(count(group.pending)), h("td", { class: "number" }, group.dead ? h("a", { href: "#/dead-letters" }, count(group.dead)) : "0"),
    number(rate(group.rate)), number(group.consumers), number(group.streams.length)];
}

function streamRow(stream) {
  return [h("td", {}, h("a", { href: `#/events/${encodeURIComponent(stream.name)}` }, short(stream.name))), number(rate(stream.rate)),
    number(count(stream.last)), number(count(stream.length)), ago(stream.lastTime),
    number(stream.groups.length), h("td", { class: stream.stopped ? "bad" : "good" }, stream.stopped || "flows")];
}
