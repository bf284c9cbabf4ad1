// Sliders over scenarios: each move asks the kernel for exact figures; curve, tables and bars follow its answer.
const NS = "http://www.w3.org/2000/svg";
const WIDTH = 640, HEIGHT = 300, LEFT = 112, RIGHT = 12, TOP = 8, BOTTOM = 34, RAREST = 1e-6;

function cell(name, text, classes = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function drawing(name, attributes, text = "") {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function table(head, rows) {
  const made = document.createElement("table");
  const line = made.createTHead().insertRow();
  line.append(...head.map((label) => cell("th", label)));
  const body = made.createTBody();
  for (const row of rows) {
    const into = body.insertRow();
    row.forEach((text, place) => {
      const one = cell("td", text);
      if (head[place]) one.dataset.label = head[place];
      into.append(one);
    });
  }
  return made;
}

function money(amount) {
  const [unit, letter] = amount >= 1e9 ? [1e9, "B"] : amount >= 1e6 ? [1e6, "M"] : amount >= 1e3 ? [1e3, "k"] : [1, ""];
  return `$${+(amount / unit).toPrecision(3)}${letter}`;
}

// Both axes are logarithms; a loss of nothing stands at the left edge.
function curve(curves) {
  const losses = curves.flat().map(([loss]) => loss).filter((loss) => loss > 0);
  const svg = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "how likely a year costs more" });
  if (!losses.length) return svg;
  const low = 10 ** Math.floor(Math.log10(Math.min(...losses))), high = 10 ** Math.ceil(Math.log10(Math.max(...losses)) + 1e-9);
  const x = (loss) => LEFT + (WIDTH - LEFT - RIGHT) * (Math.log(Math.max(loss, low) / low) / Math.log(high / low));
  const y = (above) => TOP + (HEIGHT - TOP - BOTTOM) * (Math.log(Math.max(above, RAREST)) / Math.log(RAREST));
  for (let above = 1; above >= RAREST / 2; above /= 10) {
    svg.append(drawing("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(above), y2: y(above), class: "wb-grid" }));
    svg.append(drawing("text", { x: LEFT - 6, y: y(above) + 4, "text-anchor": "end" }, `1 in ${Math.round(1 / above).toLocaleString("en")}`));
  }
  for (let loss = low; loss <= high * 1.001; loss *= 10) {
    svg.append(drawing("line", { x1: x(loss), x2: x(loss), y1: TOP, y2: HEIGHT - BOTTOM, class: "wb-grid" }));
    svg.append(drawing("text", { x: x(loss), y: HEIGHT - BOTTOM + 16, "text-anchor": loss === low ? "start" : loss * 1.001 >= high ? "end" : "middle" }, money(loss)));
  }
  curves.forEach((points, place) => {
    const rare = points.findIndex(([, above]) => above < RAREST);
    const seen = rare < 0 ? points : points.slice(0, rare + 1);
    const path = seen.map(([loss, above], index) => (index ? `H${x(loss)}V${y(above)}` : `M${x(loss)} ${y(above)}`)).join("");
    svg.append(drawing("path", { d: path, class: place ? "wb-within" : "wb-without" }));
  });
  return svg;
}

function bars(worths) {
  const made = cell("div", "", "wb-bars");
  const most = Math.max(...worths.map(([, value]) => value), 1e-9);
  for (const [name, value, told] of worths) {
    const line = cell("div", "");
    const bar = cell("i", "");
    bar.style.width = `${Math.max(0, (40 * value) / most)}%`;
    line.append(bar, cell("span", `${told}  ${name}`));
    made.append(line);
  }
  return made;
}

function render({ model, el }) {
  el.classList.add("wb-desk", "wb-explore");
  const places = Object.fromEntries(model.get("sliders").map(({ name, value }) => [name, value]));
  const meanings = {}, controls = cell("div", "", "wb-sliders"), shown = cell("div", "", "wb-shown");
  let number = 0, waits = false, again = false, begun = 0;

  const ask = () => {
    if (waits) { again = true; return; }
    waits = true; again = false; number += 1;
    model.set("asked", { number, places: { ...places } });
    model.save_changes();
  };

  const groups = new Map();
  for (const { name, label, group, value } of model.get("sliders")) {
    if (!groups.has(group)) {
      const made = document.createElement("details");
      made.open = groups.size < 2;
      made.append(cell("summary", group));
      groups.set(group, made);
      controls.append(made);
    }
    const line = cell("label", "");
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: 0, max: 1, step: 0.005, value });
    input.dataset.name = name;
    meanings[name] = cell("output", "");
    input.addEventListener("input", () => {
      if (!begun) begun = performance.now();
      places[name] = Number(input.value);
      ask();
    });
    line.append(cell("span", label), input, meanings[name]);
    groups.get(group).append(line);
  }
  const reset = cell("button", "As in the file");
  reset.addEventListener("click", () => {
    for (const { name, value } of model.get("sliders")) {
      places[name] = value;
      controls.querySelector(`input[data-name="${CSS.escape(name)}"]`).value = value;
    }
    begun = performance.now();
    ask();
  });
  controls.append(reset);

  const draw = () => {
    const drawn = model.get("drawn");
    const legend = cell("p", "", "wb-legend");
    legend.append(cell("span", "without controls", "wb-without"), cell("span", "with controls", "wb-within"));
    const heading = (text) => cell("p", text, "wb-title");
    shown.replaceChildren(
      heading("How likely a year costs more"), legend, curve(drawn.curves),
      table(drawn.figures[0], drawn.figures.slice(1)),
      heading("Scenarios, USD a year"),
      table(["scenario", "events a year", "inherent ALE", "all controls fail", "residual ALE"], drawn.rows),
      ...(drawn.worths.length ? [heading("What controls save a year (Shapley)"), bars(drawn.worths)] : []),
    );
    for (const [name, text] of Object.entries(drawn.meanings)) if (meanings[name]) meanings[name].textContent = text;
    if (waits && drawn.number === number) {
      waits = false;
      if (again) ask();
      else {
        el.dataset.redrawnMs = (performance.now() - begun).toFixed(1);
        el.dataset.redrawn = String(drawn.number);
        begun = 0;
      }
    }
  };
  model.on("change:drawn", draw);
  el.dataset.redrawn = "0";
  el.replaceChildren(controls, shown);
  draw();
}

export default { render };
