// Boxes over the picture and one card for each face.

const percent = (share) => `${Math.round(100 * share)} %`;
export const capital = (word) => word[0].toUpperCase() + word.slice(1);

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export const shade = (face) => (face.uncertain ? "unknown" : face.label);

export function title(face) {
  return face.uncertain ? "Uncertain" : capital(face.label);
}

// "2 faces. 1: Happiness 97 %. 2: Uncertain." for people who do not see the boxes.
export function sentence(faces) {
  if (!faces.length) return "No face found.";
  const each = faces.map((face) =>
    `${face.number}: ${title(face)}${face.uncertain ? "" : ` ${percent(face.confidence)}`}.`);
  return `${faces.length === 1 ? "1 face." : `${faces.length} faces.`} ${each.join(" ")}`;
}

// Box and card of one face are lit together: under the pointer or the focus, or while pinned.
const lit = { near: null, pinned: null };

function light(layer, list) {
  for (const one of [...layer.querySelectorAll(".box"), ...list.children]) {
    const { number } = one.dataset;
    one.classList.toggle("lit", number === lit.near || number === lit.pinned);
    one.querySelector("button")?.setAttribute("aria-pressed", number === lit.pinned);
  }
}

export function unpin() {
  lit.near = lit.pinned = null;
}

// Called once: boxes are replaced with each frame, so their parents listen.
export function linkBoxesAndCards(layer, list) {
  const numberOf = (event) => event.target.closest("[data-number]")?.dataset.number ?? null;
  const near = (number) => {
    lit.near = number;
    light(layer, list);
  };
  for (const parent of [layer, list]) {
    parent.addEventListener("pointerover", (event) => near(numberOf(event)));
    parent.addEventListener("pointerleave", () => near(null));
    parent.addEventListener("focusin", (event) => near(numberOf(event)));
    parent.addEventListener("focusout", () => near(null));
    parent.addEventListener("click", (event) => {
      const number = numberOf(event);
      if (number === null) return;
      lit.pinned = lit.pinned === number ? null : number;
      light(layer, list);
      const other = [...(parent === layer ? list : layer).children].find((one) => one.dataset.number === number);
      if (lit.pinned) other?.scrollIntoView({ block: "nearest" });
    });
  }
}

export function drawBoxes(layer, faces, width, height, mirrored) {
  layer.replaceChildren(...faces.map((face) => {
    const [x, y, w, h] = face.box;
    const left = mirrored ? width - x - w : x;
    const box = element("div", `box ${shade(face)} ${face.uncertain ? "uncertain" : ""}`);
    box.dataset.number = face.number;
    box.style.left = `${(100 * left) / width}%`;
    box.style.top = `${(100 * y) / height}%`;
    box.style.width = `${(100 * w) / width}%`;
    box.style.height = `${(100 * h) / height}%`;
    const share = face.uncertain ? "" : ` ${percent(face.confidence)}`;
    const tag = element("span", "tag", `${face.number}`);
    tag.append(element("span", "words", ` ${title(face)}${share}`));
    box.append(tag);
    return box;
  }));
  placeTags(layer);
}

const PLACES = ["", "below", "short", "short below", "short inside"];

// A tag takes the first place in the picture where it hides no other tag and no other face.
function placeTags(layer) {
  const frame = layer.getBoundingClientRect();
  const boxes = [...layer.children];
  const areas = boxes.map((box) => box.getBoundingClientRect());
  const placed = [];
  boxes.forEach((box, index) => {
    const tag = box.querySelector(".tag");
    const others = areas.filter((_, at) => at !== index);
    const costs = PLACES.map((place) => {
      const area = put(tag, place, frame);
      const outside = area.top < frame.top - 1 || area.bottom > frame.bottom + 1;
      return outside ? Infinity : 1000 * hidden(area, placed) + hidden(area, others);
    });
    placed.push(put(tag, PLACES[costs.indexOf(Math.min(...costs))], frame));
  });
}

function put(tag, place, frame) {
  tag.className = `tag ${place}`;
  tag.style.marginLeft = "0";
  const area = tag.getBoundingClientRect();
  const beyond = Math.min(0, frame.right - area.right) + Math.max(0, frame.left - area.left);
  tag.style.marginLeft = `${beyond}px`;
  return tag.getBoundingClientRect();
}

// Square pixels of an area that lie on others.
function hidden(area, others) {
  return others.reduce((sum, other) => sum
    + Math.max(0, Math.min(area.right, other.right) - Math.max(area.left, other.left))
    * Math.max(0, Math.min(area.bottom, other.bottom) - Math.max(area.top, other.top)), 0);
}

// Cards are reused, so that bars move and a screen reader keeps its place.
export function drawCards(layer, list, faces, labels) {
  while (list.children.length > faces.length) list.lastChild.remove();
  while (list.children.length < faces.length) list.append(card(labels));
  faces.forEach((face, index) => fill(list.children[index], face));
  light(layer, list);
}

function card(labels) {
  const item = element("li");
  const heading = element("h3");
  const button = element("button", "pick");
  button.type = "button";
  button.append(element("span", "number"), element("span", "title"), element("span", "share"));
  heading.append(button);
  const bars = element("ul", "bars");
  for (const label of labels) {
    const row = element("li", label);
    const bar = element("div", "bar");
    bar.append(element("span"));
    row.append(element("span", "", capital(label)), bar, element("span", "share"));
    row.dataset.label = label;
    bars.append(row);
  }
  item.append(heading, element("p", "reason muted"), bars);
  return item;
}

function fill(item, face) {
  item.className = `face card ${shade(face)}`;
  item.dataset.number = face.number;
  item.querySelector(".number").textContent = face.number;
  item.querySelector(".title").textContent = title(face);
  item.querySelector("h3 .share").textContent = face.uncertain ? "" : percent(face.confidence);
  item.querySelector(".reason").textContent = face.reason ? `${capital(face.reason)}.` : "";
  const shares = face.probabilities ?? {};
  const most = Math.max(0, ...Object.values(shares));
  for (const row of item.querySelector(".bars").children) {
    const share = shares[row.dataset.label] ?? 0;
    row.classList.toggle("top", share > 0 && share === most);
    row.querySelector(".bar span").style.width = `${100 * share}%`;
    row.querySelector(".share").textContent = percent(share);
  }
}
