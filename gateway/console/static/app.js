// The frame: who is signed in, which view is shown, and the keys.

import { get, signIn, signOut } from "./api.js";
import { h, labelled, notice, show } from "./dom.js";
import * as actions from "./views/actions.js";
import * as deadLetters from "./views/dead_letters.js";
import * as events from "./views/events.js";
import * as game from "./views/game.js";
import * as map from "./views/map.js";
import * as replay from "./views/replay.js";
import * as streams from "./views/streams.js";
import * as trace from "./views/trace.js";

const VIEWS = [
  ["map", "Map", map], ["streams", "Streams", streams], ["events", "Events", events], ["trace", "Trace", trace],
  ["dead-letters", "Dead letters", deadLetters], ["replay", "Replay", replay], ["game", "Game", game], ["actions", "Actions", actions],
];
const main = document.getElementById("main");
let leaving = new AbortController();
let signedIn = false;

/** Shows the view that the address names: `#/view/argument`. */
function route() {
  leaving.abort();
  leaving = new AbortController();
  if (!signedIn) return;
  const [, name = "", argument = ""] = location.hash.split("/");
  const [id, title, view] = VIEWS.find(([known]) => known === name) ?? VIEWS[0];
  document.title = `${title} · AstraTrade mesh`;
  for (const link of document.querySelectorAll("#views a")) {
    if (link.dataset.view === id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const content = view.render({ signal: leaving.signal, argument: decodeURIComponent(argument) });
  main.replaceChildren(h("h1", {}, title), ...content);
}

function frame(name) {
  document.getElementById("views").replaceChildren(...VIEWS.map(([id, title], index) => {
    const link = h("a", { href: `#/${id}`, title: `Key ${index + 1}` }, title);
    link.dataset.view = id;
    return link;
  }));
  document.getElementById("session").replaceChildren(h("span", { class: "quiet" }, name ?? ""),
    h("button", { type: "button", onclick: help, title: "Key ?" }, "Keys"),
    h("button", { type: "button", onclick: leave }, "Sign out"));
}

async function leave() {
  await signOut().catch(() => {});
  sessionStorage.removeItem("name");
  askWho("You are signed out.");
}

/** Shows the sign-in; nothing else is left on the page. */
function askWho(message) {
  signedIn = false;
  leaving.abort();
  for (const id of ["views", "session"]) document.getElementById(id).replaceChildren();
  const username = h("input", { name: "username", autocomplete: "username", required: true, autofocus: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const problem = h("p", { role: "alert", class: "bad" });
  const enter = async (event) => {
    event.preventDefault();
    problem.textContent = "";
    try {
      await signIn(username.value, password.value);
      sessionStorage.setItem("name", username.value);
      await begin();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  main.replaceChildren(h("form", { class: "card sign-in", onsubmit: enter }, h("h1", {}, "Sign in"),
    h("p", { class: "quiet" }, message), labelled("Username", username), labelled("Password", password), problem,
    h("button", { class: "primary" }, "Sign in")));
  username.focus();
}

/** Shows why a user has no business here. */
function turnAway(error) {
  document.getElementById("session").replaceChildren(h("button", { type: "button", onclick: leave }, "Sign out"));
  main.replaceChildren(h("div", { class: "card" }, h("h1", {}, "For admins only"),
    h("p", { role: "alert" }, `${error.message} — sign out and in again as an admin, or have an admin give you the role.`)));
}

/** Finds out who is there by asking for what only an admin may see. */
async function begin() {
  try {
    await get("/v1/bus");
  } catch (error) {
    if (error.status === 401) return askWho("The console is for the operators of this mesh.");
    if (error.status === 403) return turnAway(error);
    // The bus may be away; the console is there to show that.
    notice(error.message, "bad");
  }
  signedIn = true;
  frame(sessionStorage.getItem("name"));
  route();
}

function help() {
  const keys = [...VIEWS.map(([, title], index) => [String(index + 1), title]), ["/", "to the first field"], ["?", "these keys"], ["Esc", "closes a dialog"]];
  show("Keys", h("dl", { class: "keys" }, keys.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])));
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (!signedIn || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view) location.hash = `#/${view[0]}`;
  else if (event.key === "?") help();
  else if (event.key === "/") {
    event.preventDefault();
    main.querySelector("input, select")?.focus();
  }
});
window.addEventListener("hashchange", () => { route(); main.focus(); });
window.addEventListener("signed-out", () => { if (signedIn) askWho("Your session has ended."); });
begin();
