// The last minute: expressions of each person, and latency.

import { capital, element, shade, title } from "./faces.js";

const SPAN_MS = 60_000;
const GAP_MS = 1_000; // longest gap that counts as continuous

function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export class History {
  constructor(timeline, latency, rate, sparkline) {
    Object.assign(this, { timeline, latency, rate, sparkline });
    this.clear();
  }

  clear() {
    this.people = new Map(); // number: [{shade, title, from, to}]
    this.answers = []; // {at, ms}
  }

  add(faces, at, ms) {
    this.answers = this.answers.filter((answer) => answer.at > at - SPAN_MS);
    this.answers.push({ at, ms });
    for (const face of faces) {
      const parts = this.people.get(face.number) ?? [];
      const last = parts.at(-1);
      if (last && last.shade === shade(face) && at - last.to < GAP_MS) last.to = at;
      else parts.push({ shade: shade(face), title: title(face), from: last && at - last.to < GAP_MS ? last.to : at, to: at });
      this.people.set(face.number, parts);
    }
    for (const [number, parts] of this.people) {
      const kept = parts.filter((part) => part.to > at - SPAN_MS);
      if (kept.length) this.people.set(number, kept);
      else this.people.delete(number);
    }
  }

  draw(now) {
    const share = (at) => Math.max(0, 1 - (now - at) / SPAN_MS);
    const rows = [...this.people].sort(([a], [b]) => a - b).map(([number, parts]) => {
      const row = element("div", "person");
      const strip = element("div", "strip");
      const told = parts.slice(-5).map((part) => `${part.title} for ${Math.round((part.to - part.from) / 1000)} s`);
      strip.role = "img";
      strip.ariaLabel = `Face ${number}: ${told.join(", then ")}`;
      strip.append(...parts.map((part) => {
        const made = element("div", part.shade);
        made.style.left = `${100 * share(part.from)}%`;
        made.style.width = `${100 * (share(part.to) - share(part.from))}%`;
        return made;
      }));
      row.append(element("span", "muted", number), strip);
      return row;
    });
    const axis = element("div", "axis muted");
    axis.append(element("span", "", "60 s ago"), element("span", "", "now"));
    const legend = element("ul", "legend");
    const seen = new Set([...this.people.values()].flat().map((part) => part.shade));
    for (const name of [...seen].sort()) {
      legend.append(element("li", name, name === "unknown" ? "Uncertain" : capital(name)));
    }
    this.timeline.replaceChildren(...rows, axis, legend);
    this.drawLatency(now, share);
  }

  drawLatency(now, share) {
    const recent = this.answers.filter((answer) => answer.at > now - 5000).map((answer) => answer.ms);
    if (!recent.length) return;
    const median = recent.sort((a, b) => a - b)[recent.length >> 1];
    const seconds = Math.max(1, Math.min(5, (now - this.answers[0].at) / 1000));
    this.latency.textContent = `${Math.round(median)} ms`;
    const most = Math.max(...this.answers.map((answer) => answer.ms));
    this.rate.textContent = `at most ${Math.round(most)} ms · ${(recent.length / seconds).toFixed(0)} answers/s`;
    const points = this.answers.map(({ at, ms }) => `${(1000 * share(at)).toFixed(1)},${(38 - (36 * ms) / most).toFixed(1)}`);
    const line = svg("svg", {
      viewBox: "0 0 1000 40", preserveAspectRatio: "none", role: "img",
      "aria-label": `Latency over the last minute, at most ${Math.round(most)} milliseconds`,
    });
    line.append(svg("path", { d: `M${points.join("L")}` }));
    this.sparkline.replaceChildren(line);
  }
}
