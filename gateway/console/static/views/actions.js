// What admins did, here or by the commands: the bus keeps account of itself.

import { get } from "../api.js";
import { h, table } from "../dom.js";
import { ago } from "../words.js";

export function render({ signal }) {
  const list = h("div", {}, h("p", { class: "quiet" }, "Loading …"));
  const more = h("button", { type: "button", hidden: true, onclick: () => load(next) }, "More");
  let actions = [], next = "";
  async function load(token = "") {
    try {
      const page = await get(`/v1/bus/actions?pageSize=50&pageToken=${encodeURIComponent(token)}`, { signal });
      actions = [...actions, ...(page.actions ?? [])];
      next = page.nextPageToken ?? "";
      more.hidden = !next;
      list.replaceChildren(table("Actions", ["When", "Who", "Rpc", "Outcome", "Request", "Chain"], actions.map((one) => [ago(one.beginTime), one.userId, one.rpc,
        one.outcome ?? "", h("td", { class: "error" }, one.request ?? ""), one.correlationId ?? ""]), "Nobody did anything yet."));
    } catch (error) {
      if (!signal.aborted) list.replaceChildren(h("p", { class: "bad", role: "alert" }, error.message));
    }
  }
  load();
  return [list, more];
}
