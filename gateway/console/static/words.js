// Says numbers, times and names as people read them.

export const short = (stream) => stream.replace(/^astra\./, "").replace(/\.v1$/, "");
export const domainOf = (stream) => stream.split(".")[1];
export const seconds = (duration) => (duration ? parseFloat(duration) : 0);
export const count = (value) => Number(value ?? 0).toLocaleString("en");

/** Says a rate: `0`, `0.4`, `12`. */
export const rate = (perSecond) => (perSecond === 0 ? "0" : perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond)));

export function span(value) {
  if (value === 0) return "0 ms";
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  if (value < 120) return `${value.toFixed(1)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} days`;
}

export const ago = (time) => (time ? `${span(Math.max(0, (Date.now() - Date.parse(time)) / 1000))} ago` : "never");

/** Says a time of day with its milliseconds, in the reader's own zone. */
export function clock(time) {
  const at = new Date(time);
  return `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
