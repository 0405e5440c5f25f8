// The mesh as a drawing: who serves, how many events a second go where, and who is behind.

import { every, get } from "../api.js";
import { groupState, watchBus } from "../bus.js";
import { h, s } from "../dom.js";
import { rate, span } from "../words.js";

const HEIGHT = 58, GAP = 14, BETWEEN = 54;

export function render({ signal }) {
  const state = { health: {}, bus: null, problem: "" };
  const box = h("div", { class: "map" });
  const told = h("p", { class: "quiet", role: "status" });
  const draw = () => {
    box.replaceChildren(drawing(state, box.clientWidth || 900));
    told.textContent = summary(state);
  };
  watchBus(signal, (bus) => { Object.assign(state, { bus, problem: "" }); draw(); }, (error) => { state.problem = error.message; draw(); });
  every(2000, signal, async () => {
    // 503 says that not all serve, and who does not.
    const answer = await fetch("/health", { signal }).catch(() => null);
    state.health = (await answer?.json().catch(() => null))?.services ?? {};
    draw();
  });
  const resized = new ResizeObserver(draw);
  resized.observe(box);
  signal.addEventListener("abort", () => resized.disconnect());
  return [told, box];
}

function summary({ health, bus, problem }) {
  if (problem) return `The bus cannot be asked: ${problem}`;
  const down = Object.entries(health).filter(([, status]) => status !== "SERVING").map(([name]) => name.split(".")[1]);
  const events = (bus?.streams ?? []).reduce((sum, stream) => sum + stream.rate, 0);
  return `${down.length ? `Not serving: ${down.join(", ")}.` : "Every service serves."} ${rate(events)} events/s over ${bus?.streams.length ?? 0} streams.`;
}

function drawing(state, width) {
  const perRow = width >= 900 ? 7 : width >= 560 ? 4 : 2;
  const services = Object.keys(state.health).map((name) => name.split(".")[1]).filter((name) => name !== "bridge");
  const serving = (domain) => Object.entries(state.health).some(([name, status]) => name.split(".")[1] === domain && status === "SERVING");
  const sum = (streams) => streams.reduce((total, stream) => total + stream.rate, 0);
  const streams = state.bus?.streams ?? [];
  const asked = Object.keys(state.health).length > 0;
  const rows = [
    ["edge", { id: "gateway", title: "gateway", text: "REST", state: asked ? "good" : "bad", href: "#/map" },
      { id: "envoy", title: "Envoy", text: services.some(serving) ? "routes" : "no answer", state: services.some(serving) ? "good" : "bad", href: "#/map" }],
    ...chunks("services", services.map((name) => service(name, serving(name), streams)), perRow),
    ["bus", { id: "bridge", title: "bridge", text: serving("bridge") ? `${rate(sum(streams))} events/s` : "not serving", state: serving("bridge") ? "good" : "bad", href: "#/streams" },
      { id: "redis", title: "Redis Streams", text: state.problem ? "no answer" : `${streams.length} streams`, state: state.problem ? "bad" : "good", href: "#/streams" }],
    ...chunks("groups", (state.bus?.groups ?? []).map(group), perRow === 7 ? 5 : perRow),
  ];
  const places = placed(rows, width);
  const edges = [["gateway", "envoy", 0], ["bridge", "redis", sum(streams)],
    ...services.map((name) => ["envoy", name, 0]),
    ...services.map((name) => [name, streams.filter((stream) => stream.domain === name)]).filter(([, own]) => own.length).map(([name, own]) => [name, "bridge", sum(own)]),
    ...(state.bus?.groups ?? []).map((one) => ["redis", `group ${one.name}`, one.rate])];
  const height = Math.max(...[...places.values()].map((place) => place.y + HEIGHT), 0) + 4;
  return s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Map of the mesh" },
    edges.map(([from, to, events]) => line(places.get(from), places.get(to), events)),
    [...places.values()].map(node));
}

const service = (name, serves, streams) => {
  const own = streams.filter((stream) => stream.domain === name);
  const events = own.reduce((total, stream) => total + stream.rate, 0);
  const text = !serves ? "not serving" : own.length ? `${rate(events)} events/s` : "watches";
  return { id: name, title: name, text, state: serves ? "good" : "bad", href: "#/streams/" + name };
};

const group = (one) => {
  const [state, words] = groupState(one);
  const text = one.lag || one.pending ? `${one.lag + one.pending} behind, ${span(one.age)}` : one.dead ? `${one.dead} dead letters` : `${rate(one.rate)} events/s`;
  return { id: `group ${one.name}`, title: one.name.replaceAll("_", " "), text: state === "bad" ? words : text, state, href: one.dead ? "#/dead-letters" : "#/streams/" + one.name };
};

const chunks = (kind, items, size) => Array.from({ length: Math.ceil(items.length / size) }, (_, index) => [kind, ...items.slice(index * size, (index + 1) * size)]);

/** Gives each node its place: rows below each other, those of a kind closer, the nodes of one side by side in its middle. */
function placed(rows, width) {
  const places = new Map();
  let y = 2;
  rows.forEach(([kind, ...row], index) => {
    const wide = Math.min(225, (width - GAP * (row.length - 1) - 4) / row.length);
    const left = (width - row.length * wide - (row.length - 1) * GAP) / 2;
    row.forEach((one, column) => places.set(one.id, { ...one, x: left + column * (wide + GAP), y, wide }));
    y += HEIGHT + (rows[index + 1]?.[0] === kind ? GAP : BETWEEN);
  });
  return places;
}

function line(from, to, events) {
  if (!from || !to) return null;
  const sideways = from.y === to.y;
  const [x1, y1] = sideways ? [from.x + from.wide, from.y + HEIGHT / 2] : [from.x + from.wide / 2, from.y + HEIGHT];
  const [x2, y2] = sideways ? [to.x, to.y + HEIGHT / 2] : [to.x + to.wide / 2, to.y];
  const path = sideways ? `M${x1} ${y1}H${x2}` : `M${x1} ${y1}C${x1} ${y1 + 26} ${x2} ${y2 - 26} ${x2} ${y2}`;
  return s("path", { d: path, class: events ? "edge busy" : "edge", "stroke-width": events ? Math.min(5, 1.5 + Math.log10(1 + events)) : 1 });
}

function node({ title, text, state, href, x, y, wide }) {
  const most = Math.floor((wide - 32) / 8);
  const shown = title.length > most ? `${title.slice(0, most - 1)}…` : title;
  return s("a", { href, class: `node ${state}`, "aria-label": `${title}: ${text}` },
    s("title", {}, `${title}: ${text}`),
    s("rect", { x, y, width: wide, height: HEIGHT, rx: 8 }),
    s("circle", { cx: x + 13, cy: y + 20, r: 4.5 }),
    s("text", { x: x + 24, y: y + 24, class: "title" }, shown),
    s("text", { x: x + 12, y: y + 45 }, text));
}
