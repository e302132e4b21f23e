/** The timings of one turn as bars from the user's last speech on: how long each stage took, and which overlapped. */

import { number, text } from "./texts.js";

/** Each stage: from the latest of its starting marks (without one: the last speech) to its end mark. */
const STAGES = [
  { name: "pause", from: [], to: "endpoint" },
  { name: "hearing", from: [], to: "transcript" },
  { name: "thinking", from: ["transcript"], to: "first_token" },
  { name: "clause", from: ["first_token"], to: "first_clause" },
  { name: "voicing", from: ["transcript", "first_token", "first_clause"], to: "first_audio" },
  { name: "sending", from: ["first_audio", "endpoint"], to: "first_sound" },
  { name: "arriving", from: ["first_sound"], to: "heard" },
];

/**
 * @param {Record<string, number>} timings in ms since the last speech; `heard`: when the sound was played here
 * @returns {HTMLElement | null} null if there are no timings
 */
export function waterfall(timings) {
  const bars = STAGES.filter(({ to }) => to in timings).map(({ name, from, to }) => {
    const start = Math.max(0, ...from.map((mark) => timings[mark] ?? 0));
    return { name, start, end: Math.max(start, timings[to]) };
  });
  if (!bars.length) return null;
  const last = timings.heard ?? timings.first_sound ?? Math.max(...bars.map(({ end }) => end));
  const whole = Math.max(...bars.map(({ end }) => end), 1);
  const box = element("details", "waterfall");
  const summary = element("summary");
  summary.append(element("span", "strip"), `${text("answeredIn", { seconds: seconds(last) })}`);
  summary.firstChild.setAttribute("aria-hidden", "true");
  const list = element("ul", "bars");
  for (const { name, start, end } of bars) {
    summary.firstChild.append(piece(name, start, end, whole));
    const row = element("li");
    const track = element("span", "track");
    track.setAttribute("aria-hidden", "true");
    track.append(piece(name, start, end, whole));
    row.append(element("span", "name", text(`stage_${name}`)), track, element("span", "took", range(start, end)));
    list.append(row);
  }
  box.append(summary, list, element("p", "later", later(timings)));
  box.addEventListener("toggle", () => box.open && box.scrollIntoView({ block: "nearest" }));
  return box;
}

function piece(name, start, end, whole) {
  const bar = element("i", "bar");
  bar.dataset.stage = name;
  bar.style.left = `${(100 * start) / whole}%`;
  bar.style.width = `${Math.max(0.6, (100 * (end - start)) / whole)}%`;
  return bar;
}

const range = (start, end) =>
  start > 0 ? text("fromTo", { from: number(start, 0), to: number(end, 0) }) : text("until", { to: number(end, 0) });

function later({ reply_done: written, speech_done: spoken }) {
  const parts = [text("fromLastSpeech")];
  if (written !== undefined) parts.push(text("writtenAfter", { seconds: seconds(written) }));
  if (spoken !== undefined) parts.push(text("voicedAfter", { seconds: seconds(spoken) }));
  return parts.join(" ");
}

const seconds = (ms) => number(ms / 1000, ms < 9950 ? 2 : 0);

function element(tag, name = "", content = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (content) made.textContent = content;
  return made;
}
