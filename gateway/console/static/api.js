// Calls the REST API as the signed-in admin. The session is a cookie that no script can read.

export class Refused extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

function headers(method, more = {}) {
  const csrf = document.cookie.split("; ").find((pair) => pair.startsWith("astra_csrf="));
  return { ...(method !== "GET" && csrf ? { "X-CSRF-Token": csrf.slice("astra_csrf=".length) } : {}), ...more };
}

async function refused(answer) {
  const error = await answer.json().catch(() => ({}));
  const info = (error.details ?? []).find((detail) => detail.reason);
  return new Refused(answer.status, info?.reason ?? "", error.message ?? `HTTP ${answer.status}`);
}

async function send(method, path, body, options) {
  return fetch(path, {
    method,
    headers: headers(method, { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...options.headers }),
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: options.signal,
    cache: "no-store",
  });
}

let refreshing = null;

/** Has the session go on with a new token; concurrent callers share one attempt. */
function refresh() {
  refreshing ??= send("POST", "/session/refresh", undefined, {})
    .then((answer) => answer.ok, () => false)
    .finally(() => { refreshing = null; });
  return refreshing;
}

async function answered(method, path, body, options = {}) {
  let answer = await send(method, path, body, options);
  if (answer.status === 401 && await refresh()) answer = await send(method, path, body, options);
  if (answer.status === 401) window.dispatchEvent(new Event("signed-out"));
  if (!answer.ok) throw await refused(answer);
  return answer;
}

export const get = async (path, options) => (await answered("GET", path, undefined, options)).json();
export const post = async (path, body, options) => (await answered("POST", path, body, options)).json();

/** Signs in; raises what the gateway says where name or password are wrong. */
export async function signIn(username, password) {
  const answer = await send("POST", "/session", { username, password }, {});
  if (!answer.ok) throw await refused(answer);
  return answer.json();
}

export const signOut = () => send("DELETE", "/session", undefined, {});

/** Calls a streaming rpc and hands each message on, until the stream ends or fails. */
export async function stream(path, body, onMessage, options) {
  const answer = await answered("POST", path, body, { ...options, headers: { Accept: "application/x-ndjson" } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) {
      const message = JSON.parse(line);
      if (message.error) throw new Refused(0, "", message.error.message);
      onMessage(message);
    }
    if (done) return;
  }
}

/** Follows a streaming rpc by server-sent events until the signal; the browser resumes it after a break. */
export function follow(path, { signal, onMessage, onState }) {
  let source = null;
  let timer = 0;
  let seen = "";
  const open = () => {
    source = new EventSource(seen ? `${path}${path.includes("?") ? "&" : "?"}resumeToken=${encodeURIComponent(seen)}` : path);
    source.onopen = () => onState("live");
    source.onmessage = (event) => {
      seen = event.lastEventId || seen;
      onMessage(JSON.parse(event.data));
    };
    source.onerror = async (event) => {
      if (event.data) onState(JSON.parse(event.data).error?.message ?? "failed");
      else onState("reconnecting …");
      if (source.readyState !== EventSource.CLOSED) return;
      // Refused, not broken: the browser does not try again by itself.
      await refresh();
      if (!signal.aborted) timer = setTimeout(open, 2000);
    };
  };
  signal.addEventListener("abort", () => { source.close(); clearTimeout(timer); });
  open();
}

/** Calls `act` now and then every `milliseconds`, never two at once, until the signal. */
export async function every(milliseconds, signal, act) {
  while (!signal.aborted) {
    if (!document.hidden) await act();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}
