// What one call set off: its events as a tree and a timeline, causes before effects.

import { get } from "../api.js";
import { h, labelled } from "../dom.js";
import { count, domainOf, seconds, short, span } from "../words.js";

const AGAIN_MS = 1000, AGAIN_TIMES = 5;

export function render({ signal, argument }) {
  const wanted = h("input", { type: "search", name: "chain", value: argument, required: true, pattern: "[A-Za-z0-9_.\\-]{1,64}", maxlength: "64",
    placeholder: "x-correlation-id of the call" });
  const told = h("p", { role: "status" });
  const chart = h("ol", { class: "timeline", "aria-label": "Events of the chain" });
  const look = async () => {
    try {
      const { events = [] } = await get(`/v1/correlations/${encodeURIComponent(argument)}`, { signal });
      const total = Math.max(...events.map((event) => seconds(event.sinceStart)), 0);
      told.className = "";
      told.textContent = `${count(events.length)} events, the last ${span(total)} after the first.`;
      chart.replaceChildren(...events.map((event) => row(event, total)));
      return events.length;
    } catch (error) {
      if (signal.aborted) return 0;
      told.className = "bad";
      told.textContent = error.status === 404 ? "No event of such a chain is known (yet)." : error.message;
      return 0;
    }
  };
  const go = async () => {
    // A chain that is under way grows for a moment.
    for (let times = 0; times < AGAIN_TIMES && !signal.aborted; times += 1) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  };
  if (argument) go();
  const submit = (event) => {
    event.preventDefault();
    const hash = `#/trace/${encodeURIComponent(wanted.value.trim())}`;
    if (location.hash === hash) look(); else location.hash = hash;
  };
  return [h("form", { class: "row", onsubmit: submit }, labelled("Correlation id", wanted), h("button", { class: "primary" }, "Show")), told, chart];
}

function row(event, total) {
  const start = seconds(event.sinceStart);
  const bar = h("span", { class: `bar ${domainOf(event.stream)}` });
  bar.style.insetInlineStart = `${total ? (start / total) * 96 : 0}%`;
  const name = h("span", { class: "name" }, "└ ".repeat(event.depth ? 1 : 0) + short(event.stream));
  name.style.paddingInlineStart = `${Math.min(event.depth ?? 0, 8) * 1.1}em`;
  return h("li", { title: `${event.streamId} · ${event.subject ?? ""}` }, name, h("span", { class: "lane" }, bar), h("span", { class: "number" }, `+${span(start)}`));
}
