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

export function drawBoxes(layer, faces, width, height, mirrored) {
  layer.replaceChildren(...faces.map((face) => {
    const [x, y, w, h] = face.box;
    const left = mirrored ? width - x - w : x;
    const box = element("div", `box ${shade(face)} ${face.uncertain ? "uncertain" : ""}`);
    if (y < 0.08 * height) box.classList.add("below");
    if (left + w > 0.8 * width && left > 0.2 * width) box.classList.add("leftwards");
    box.style.left = `${(100 * left) / width}%`;
    box.style.top = `${(100 * y) / height}%`;
    box.style.width = `${(100 * w) / width}%`;
    box.style.height = `${(100 * h) / height}%`;
    const share = face.uncertain ? "" : ` ${percent(face.confidence)}`;
    box.append(element("span", "tag", `${face.number} ${title(face)}${share}`));
    return box;
  }));
  separateTags(layer);
}

// A tag that would cover another tag moves below its box.
function separateTags(layer) {
  const placed = [];
  for (const tag of layer.querySelectorAll(".tag")) {
    const over = (one) => placed.some((other) => one.left < other.right && other.left < one.right
      && one.top < other.bottom && other.top < one.bottom);
    if (over(tag.getBoundingClientRect())) tag.parentNode.classList.add("below");
    placed.push(tag.getBoundingClientRect());
  }
}

// Cards are reused, so that bars move and a screen reader keeps its place.
export function drawCards(list, faces, labels) {
  while (list.children.length > faces.length) list.lastChild.remove();
  while (list.children.length < faces.length) list.append(card(labels));
  faces.forEach((face, index) => fill(list.children[index], face));
}

function card(labels) {
  const item = element("li");
  const heading = element("h3");
  heading.append(element("span", "number"), element("span", "title"), element("span", "share"));
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
