// Hands a range of past events to a group once more, and shows how far that is.

import { get, stream as call } from "../api.js";
import { ask, h, labelled, notice } from "../dom.js";
import { count, short } from "../words.js";

export function render({ signal }) {
  const group = h("select", { name: "group", required: true });
  const stream = h("select", { name: "stream" });
  const from = h("input", { name: "from", placeholder: "1 or 2026-11-22T10:00" });
  const to = h("input", { name: "to", placeholder: "the last there is" });
  const perSecond = h("input", { name: "rate", type: "number", min: "1", max: "100000", value: "1000" });
  const force = h("input", { name: "force", type: "checkbox" });
  const start = h("button", { class: "primary" }, "Start");
  const stop = h("button", { type: "button", hidden: true }, "Stop");
  const progress = h("progress", { max: "1", value: "0", "aria-label": "Replay", hidden: true });
  const told = h("p", { role: "status" });
  const failures = h("ul", { class: "failures" });
  const streamsOf = new Map();

  const showStreams = () => stream.replaceChildren(h("option", { value: "" }, "all it reads"),
    ...(streamsOf.get(group.value) ?? []).map((name) => h("option", { value: name }, short(name))));
  group.addEventListener("change", showStreams);
  get("/v1/bus", { signal }).then(({ streams = [] }) => {
    for (const one of streams) for (const { group: name } of one.groups ?? []) streamsOf.set(name, [...(streamsOf.get(name) ?? []), one.stream]);
    group.replaceChildren(...[...streamsOf.keys()].sort().map((name) => h("option", { value: name }, name)));
    showStreams();
  }, (error) => { told.textContent = error.message; });

  const submit = async (event) => {
    event.preventDefault();
    let request;
    try {
      request = { requestId: crypto.randomUUID(), group: undefined, streams: stream.value ? [stream.value] : [], force: force.checked, rateLimit: Number(perSecond.value),
        ...(from.value.trim() ? { start: position(from.value.trim()) } : {}), ...(to.value.trim() ? { end: position(to.value.trim()) } : {}) };
    } catch (error) { return notice(error.message, "bad"); }
    if (force.checked && !await ask("Have the effects again?", `Every event of the range has its effect on ${group.value} once more, also where it had it. This cannot be undone.`, "Replay by force")) return;
    await run(group.value, request);
  };

  async function run(name, request) {
    const stopping = new AbortController();
    const leave = () => stopping.abort();
    signal.addEventListener("abort", leave);
    stop.onclick = leave;
    start.disabled = true;
    stop.hidden = progress.hidden = false;
    failures.replaceChildren();
    let last = null;
    try {
      await call(`/v1/bus/groups/${encodeURIComponent(name)}:replay`, request, (message) => { last = message; advance(message); }, { signal: stopping.signal });
      notice(`Replay to ${name} is done: ${words(last)}`);
    } catch (error) {
      if (stopping.signal.aborted) told.textContent = `Stopped. ${words(last)}`;
      else notice(`${error.message} — ${words(last)}`, "bad");
    } finally {
      signal.removeEventListener("abort", leave);
      start.disabled = false;
      stop.hidden = true;
    }
  }

  function advance(message) {
    progress.max = Math.max(1, Number(message.total ?? 0));
    progress.value = Number(message.total ?? 0) ? Number(message.done ?? 0) : 1;
    told.textContent = words(message);
    for (const one of message.failures ?? []) failures.append(h("li", {}, `${short(one.stream)} ${one.id}: ${one.error}`));
  }

  return [h("p", { class: "quiet" }, "What a group has applied has no second effect, unless you force it."),
    h("form", { class: "card fields", onsubmit: submit }, labelled("Group", group), labelled("Stream", stream), labelled("From (number in the stream, or time)", from),
      labelled("To", to), labelled("Most events a second", perSecond), labelled("Force effects that were had", force), h("div", { class: "row" }, start, stop)),
    progress, told, failures];
}

function words(message) {
  if (!message) return "nothing was handed over.";
  const parts = [["applied", "applied"], ["alreadyApplied", "applied before"], ["failed", "failed"], ["gone", "gone"]].filter(([name]) => Number(message[name] ?? 0));
  return `${count(message.done)} of ${count(message.total)} events: ${parts.map(([name, what]) => `${count(message[name])} ${what}`).join(", ") || "none yet"}`;
}

function position(text) {
  if (/^\d+$/.test(text)) return { ordinal: text };
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new Error(`“${text}” is neither a number in the stream nor a time such as 2026-11-22T10:00`);
  return { time: time.toISOString() };
}
