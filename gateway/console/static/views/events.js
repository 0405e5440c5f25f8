// Events as they happen, with filters.

import { follow, get } from "../api.js";
import { h, labelled } from "../dom.js";
import { clock, short } from "../words.js";

const KEPT = 300;
const BEGIN_MINUTES = 15;

export function render({ signal, argument }) {
  const stream = h("select", {}, h("option", { value: "" }, "all streams"));
  const correlation = h("input", { type: "search", placeholder: "correlation id", maxlength: "64" });
  const user = h("input", { type: "search", placeholder: "user id", maxlength: "64" });
  const state = h("span", { class: "quiet", role: "status" }, "connecting …");
  const list = h("ol", { class: "events", "aria-label": "Events, the newest first" });
  const empty = h("p", { class: "quiet" }, `No event yet: those of the last ${BEGIN_MINUTES} minutes and all that come are shown here.`);
  let paused = false;
  let held = [];
  let leave = new AbortController();
  signal.addEventListener("abort", () => leave.abort());

  const add = (event) => {
    if (paused) { held.push(event); state.textContent = `paused, ${held.length} waiting`; return; }
    empty.hidden = true;
    list.prepend(row(event));
    while (list.children.length > KEPT) list.lastChild.remove();
  };
  const begin = () => {
    leave.abort();
    leave = new AbortController();
    list.replaceChildren();
    empty.hidden = false;
    const asked = new URLSearchParams({ startTime: new Date(Date.now() - BEGIN_MINUTES * 60000).toISOString() });
    if (stream.value) asked.set("streams", stream.value);
    if (correlation.value.trim()) asked.set("correlationId", correlation.value.trim());
    if (user.value.trim()) asked.set("userId", user.value.trim());
    follow(`/v1/bus/events:watch?${asked}`, { signal: leave.signal, onMessage: (message) => add(message.event),
      onState: (words) => { if (!paused) state.textContent = words; } });
  };
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) { const waited = held; held = []; waited.forEach(add); state.textContent = "live"; }
  } }, "Pause");
  for (const field of [stream, correlation, user]) field.addEventListener("change", begin);
  get("/v1/bus", { signal }).then(({ streams = [] }) => {
    stream.append(...streams.map((one) => h("option", { value: one.stream, selected: one.stream === argument }, short(one.stream))));
  }, (error) => { state.textContent = error.message; }).finally(() => { if (!signal.aborted) begin(); });
  return [h("div", { class: "row" }, labelled("Stream", stream), labelled("Chain", correlation), labelled("User", user), pause, state), empty, list];
}

function row(event) {
  const summary = h("summary", {}, h("time", {}, event.time ? clock(event.time) : ""), h("strong", {}, short(event.stream)),
    h("span", {}, event.problem || event.subject || ""), h("span", { class: "quiet" }, event.userId ? `user ${event.userId}` : ""));
  return h("li", {}, h("details", {}, summary,
    event.correlationId ? h("p", {}, "chain ", h("a", { href: `#/trace/${encodeURIComponent(event.correlationId)}` }, event.correlationId)) : null,
    h("pre", { tabindex: "0" }, JSON.stringify({ id: event.id, eventId: event.eventId, causationId: event.causationId, producer: event.producer, ...event.data }, null, 2))));
}
