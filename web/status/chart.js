/** A chart of the last turns: one column a turn, its height the time to first audio. */

import { number, text } from "../texts.js";

const HEIGHT = 240;
const LEFT = 48;
const BOTTOM = 18;
const TOP = 10;
const ROOM = 100;
const SVG = "http://www.w3.org/2000/svg";

/** Time to first audio of a turn in ms; undefined without audio. */
export const waited = ({ kind, timings_ms: marks }) => (kind === "live" ? marks.first_sound : marks.first_audio);

/**
 * @param {object[]} turns of `/status`, the oldest first
 * @param {number} across width in CSS pixels, so that text keeps its size on a phone
 * @returns {SVGSVGElement}
 */
export function turnChart(turns, across) {
  const longest = Math.max(500, ...turns.map((turn) => waited(turn) ?? 0));
  const step = stepFor(longest);
  const top = Math.ceil(longest / step) * step;
  const y = (ms) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - ms / top);
  const chart = make("svg", { viewBox: `0 0 ${across} ${HEIGHT}`, class: "chart", role: "img" });
  chart.setAttribute("aria-label", summary(turns));
  for (let ms = 0; ms <= top; ms += step) {
    chart.append(make("line", { x1: LEFT, x2: across, y1: y(ms), y2: y(ms), class: ms ? "rule" : "ground" }));
    const label = make("text", { x: LEFT - 8, y: y(ms) + 4, class: "tick" });
    label.textContent = `${number(ms / 1000, step < 1000 ? 1 : 0)} s`;
    chart.append(label);
  }
  const width = (across - LEFT) / ROOM;
  turns.forEach((turn, index) => {
    const ms = waited(turn);
    const x = across - (turns.length - index) * width + width * 0.15;
    // A turn without audio is a short mark on the base line.
    const height = ms === undefined ? 6 : Math.max(3, y(0) - y(ms));
    const column = make("rect", { x, y: y(0) - height, width: width * 0.7, height, rx: Math.min(2, width / 4), "data-outcome": turn.outcome });
    const title = make("title", {});
    title.textContent = describe(turn);
    column.append(title);
    chart.append(column);
  });
  return chart;
}

/** One turn in a sentence. */
export function describe(turn) {
  const ms = waited(turn);
  const when = new Date(turn.at * 1000).toLocaleTimeString();
  const parts = [when, text(`outcome_${turn.outcome}`)];
  if (turn.code) parts.push(turn.code);
  if (ms !== undefined) parts.push(text("answeredIn", { seconds: number(ms / 1000, 2) }));
  return parts.join(" · ");
}

function summary(turns) {
  const times = turns.map(waited).filter((ms) => ms !== undefined).sort((a, b) => a - b);
  if (!times.length) return text("noTurns");
  return text("chartSummary", {
    count: number(turns.length, 0),
    half: number(middle(times) / 1000, 2),
    longest: number(times.at(-1) / 1000, 2),
    failed: number(turns.filter(({ outcome }) => outcome === "failed").length, 0),
  });
}

/** @param {number[]} sorted */
export const middle = (sorted) => sorted[Math.floor((sorted.length - 1) / 2)];

/** The distance of two grid lines, so that there are three to six of them. */
function stepFor(longest) {
  for (let unit = 100; ; unit *= 10) {
    for (const step of [unit, 2 * unit, 5 * unit]) if (longest / step <= 5) return step;
  }
}

function make(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
