// The business at a glance: the KPIs, and the leaderboard as it moves.

import { every, follow, get } from "../api.js";
import { h, labelled, number, table } from "../dom.js";
import { clock, count } from "../words.js";

const BOARDS = [["BOARD_ALL_TIME", "all time"], ["BOARD_MONTHLY", "this month"], ["BOARD_WEEKLY", "this week"], ["BOARD_DAILY", "today"]];
const STATES = { KPI_STATUS_ON_TARGET: ["good", "on target"], KPI_STATUS_BELOW_TARGET: ["warn", "below target"], KPI_STATUS_WARNING: ["warn", "warning"], KPI_STATUS_CRITICAL: ["bad", "critical"] };

export function render({ signal }) {
  const kpis = h("div", { class: "cards" });
  const problem = h("p", { class: "bad", role: "alert" });
  every(5000, signal, async () => {
    try {
      const { kpis: found = [] } = await get("/v1/kpis", { signal });
      kpis.replaceChildren(...found.map(card));
      problem.textContent = "";
    } catch (error) {
      if (!signal.aborted) problem.textContent = error.message;
    }
  });
  const board = h("select", {}, BOARDS.map(([value, words]) => h("option", { value }, words)));
  const state = h("span", { class: "quiet", role: "status" });
  const ranks = h("div");
  let leave = new AbortController();
  signal.addEventListener("abort", () => leave.abort());
  const begin = () => {
    leave.abort();
    leave = new AbortController();
    follow(`/v1/leaderboards/${board.value}:watch`, { signal: leave.signal, onState: (words) => { state.textContent = words; },
      onMessage: (message) => {
        state.textContent = `as of ${clock(new Date())}`;
        ranks.replaceChildren(table("Leaderboard", ["Rank", "User", "Level", "XP"],
          (message.ranks ?? []).map((one) => [number(one.rank), one.userId, number(one.level), number(count(one.xp))]), "Nobody has earned XP in this period yet."));
      } });
  };
  board.addEventListener("change", begin);
  begin();
  return [h("h2", {}, "KPIs"), problem, kpis, h("h2", {}, "Leaderboard"), h("div", { class: "row" }, labelled("Board", board), state), ranks];
}

function card(kpi) {
  const [state, words] = STATES[kpi.status] ?? ["", ""];
  const name = kpi.kind.replace("KPI_KIND_", "").replaceAll("_", " ").toLowerCase();
  return h("section", { class: `card kpi ${state}` }, h("h3", {}, name), h("p", { class: "figure" }, count(kpi.value), h("small", {}, ` ${kpi.unit ?? ""}`)),
    h("p", {}, `${words} (target ${count(kpi.target)})`));
}
