// The queue: a table that follows the kernel's rows; a button asks the kernel for a link, which is then clicked.
const COLUMNS = [["state", "State"], ["purpose", "Purpose (the proposer's words)"], ["proposer", "Proposer"],
  ["needs", "Outstanding"], ["decided", "Decided"], ["words", "Words"]];

function cell(name, text) {
  const made = document.createElement(name);
  made.textContent = Array.isArray(text) ? text.join(", ") : text;
  return made;
}

function action(model, row) {
  const link = model.get("link");
  if (link.digest === row.digest) {
    const made = cell("a", "Open the page");
    const { protocol, href } = new URL(link.url);
    if (protocol !== "https:" && protocol !== "http:") throw new Error(protocol);
    Object.assign(made, { className: "wb-open", href, target: "_blank", rel: "noopener noreferrer" });
    return made;
  }
  const made = cell("button", row.simulated ? "Review" : "not simulated yet");
  made.disabled = !row.simulated;
  made.addEventListener("click", () => model.send({ ask: row.digest }));
  return made;
}

function render({ model, el }) {
  el.classList.add("wb-desk");
  const draw = () => {
    const rows = model.get("rows");
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    head.append(...COLUMNS.map(([, label]) => cell("th", label)), cell("th", ""));
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      line.dataset.digest = row.digest;
      line.append(...COLUMNS.map(([name, label]) => {
        const made = cell("td", row[name]);
        made.dataset.label = label;
        return made;
      }));
      line.insertCell().append(action(model, row));
    }
    const note = cell("p", model.get("note"));
    note.className = "wb-status";
    const again = cell("button", "Refresh");
    again.addEventListener("click", () => model.send({}));
    el.replaceChildren(rows.length ? table : cell("p", "Nothing waits."), note, again);
  };
  for (const name of ["rows", "note", "link"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };
