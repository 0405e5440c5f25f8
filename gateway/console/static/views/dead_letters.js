// What groups gave up on: look at it, hand it to the group again, or give it up for good.

import { get, post } from "../api.js";
import { ask, h, notice, show, table } from "../dom.js";
import { ago, short } from "../words.js";

const path = (letter) => `/v1/bus/groups/${encodeURIComponent(letter.group)}/streams/${encodeURIComponent(letter.stream)}/deadLetters/${encodeURIComponent(letter.id)}`;

export function render({ signal }) {
  const list = h("div", {}, h("p", { class: "quiet" }, "Loading …"));
  const more = h("button", { type: "button", hidden: true, onclick: () => load(next) }, "More");
  let letters = [], next = "";

  async function load(token = "") {
    try {
      const page = await get(`/v1/bus/deadLetters?pageSize=100&pageToken=${encodeURIComponent(token)}`, { signal });
      letters = [...(token ? letters : []), ...(page.deadLetters ?? [])];
      next = page.nextPageToken ?? "";
      more.hidden = !next;
      list.replaceChildren(table("Dead letters", ["Group", "Stream", "Error", "Deliveries", "Given up", "Chain", "What to do"], letters.map(row), "No dead letters. Every group had its effect of every event it was given."));
    } catch (error) {
      if (!signal.aborted) list.replaceChildren(h("p", { class: "bad", role: "alert" }, error.message));
    }
  }

  const act = (button, words, call) => async () => {
    button.disabled = true;
    try {
      notice(words(await call()));
    } catch (error) {
      notice(error.message, "bad");
    } finally {
      button.disabled = false;
      await load();
    }
  };

  function row(letter) {
    const chain = letter.event?.correlationId;
    const name = `${letter.group}, ${short(letter.stream)}`;
    const look = h("button", { type: "button", onclick: async () => {
      try {
        show(name, h("pre", { tabindex: "0" }, JSON.stringify(await get(path(letter), { signal }), null, 2)));
      } catch (error) { notice(error.message, "bad"); }
    } }, "Show");
    const retry = h("button", { type: "button", class: "primary" }, "Retry");
    retry.addEventListener("click", act(retry, (done) => done.alreadyApplied ? `${name}: had its effect before` : `${name}: has its effect now`,
      () => post(`${path(letter)}:retry`, { requestId: crypto.randomUUID() })));
    const drop = h("button", { type: "button", class: "danger", onclick: async () => {
      const sure = await ask("Drop this dead letter?", `${letter.group} will never have its effect of this event unless it is replayed. The event itself stays in its stream.`, "Drop it");
      if (sure) await act(drop, () => `${name}: dropped`, () => post(`${path(letter)}:drop`, { requestId: crypto.randomUUID() }))();
    } }, "Drop");
    return [letter.group, short(letter.stream), h("td", { class: "error" }, letter.error), h("td", { class: "number" }, String(letter.deliveries)),
      ago(letter.time), h("td", {}, chain ? h("a", { href: `#/trace/${encodeURIComponent(chain)}` }, chain) : ""), h("td", { class: "row" }, look, retry, drop)];
  }

  load();
  return [h("div", { class: "row" }, h("button", { type: "button", onclick: () => load() }, "Look again")), list, more];
}
