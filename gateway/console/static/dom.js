// Builds what the page shows. Text is always text: nothing that comes from an event is read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: properties that begin with `on` are listeners, false and null leave an attribute out. */
export function h(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** Makes an element of a drawing. */
export function s(name, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, name), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Makes a table in a box that scrolls by itself on a narrow screen. A row is a list of cells: text, nodes or elements. */
export function table(caption, heads, rows, empty) {
  const cells = (row) => row.map((cell) => (cell instanceof HTMLTableCellElement ? cell : h("td", {}, cell ?? "")));
  const body = rows.length
    ? rows.map((row) => h("tr", {}, cells(row)))
    : [h("tr", {}, h("td", { colspan: heads.length, class: "quiet" }, empty))];
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, heads.map((head, index) => h("th", { scope: "col", class: rows[0]?.[index]?.className ?? "" }, head)))),
      h("tbody", {}, body)));
}

/** Makes a cell with a number. */
export const number = (text, className = "") => h("td", { class: `number ${className}` }, String(text));

/** Makes a labelled control. */
export const labelled = (text, control) => h("label", {}, h("span", {}, text), control);

/** Says something that goes away by itself; errors stay until they are closed. */
export function notice(text, kind = "good") {
  const box = h("div", { class: `notice ${kind}` }, h("span", {}, text),
    h("button", { type: "button", "aria-label": "Close", onclick: () => box.remove() }, "×"));
  document.getElementById("notices").append(box);
  if (kind === "good") setTimeout(() => box.remove(), 6000);
}

/** Shows a dialog and returns what its buttons said: `true` if confirmed. The safe button has the focus. */
export function ask(title, text, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "ask-title", onclose: () => { resolve(dialog.returnValue === "yes"); dialog.remove(); } },
      h("h2", { id: "ask-title" }, title), h("p", {}, text),
      h("div", { class: "row" },
        h("button", { type: "button", autofocus: true, onclick: () => dialog.close("no") }, "Cancel"),
        h("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, action)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Shows something in a dialog until it is closed. */
export function show(title, ...content) {
  const dialog = h("dialog", { "aria-labelledby": "show-title", onclose: () => dialog.remove() },
    h("h2", { id: "show-title" }, title), ...content,
    h("div", { class: "row" }, h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close")));
  document.body.append(dialog);
  dialog.showModal();
}
