// A link that is drawn from data: text stays text, and only http and https lead anywhere.
function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function anchor(url, text) {
  const made = element("a", "wb-open", text);
  const { protocol, href } = new URL(url);
  if (protocol !== "https:" && protocol !== "http:") throw new Error(protocol);
  made.href = href;
  made.target = "_blank";
  made.rel = "noopener noreferrer";
  return made;
}

function render({ model, el }) {
  el.classList.add("wb-desk");
  const draw = () => {
    const url = model.get("url");
    el.replaceChildren(
      element("p", "wb-title", model.get("title")),
      element("p", "wb-words", model.get("words")),
      ...(url ? [anchor(url, "Open the page in a new tab")] : []),
      element("p", "wb-status", model.get("status")),
    );
  };
  for (const name of ["title", "url", "words", "status"]) model.on(`change:${name}`, draw);
  draw();
  model.set("seen", true);
  model.save_changes();
}

export default { render };
