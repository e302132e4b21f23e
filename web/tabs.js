/**
 * The tabs: each `<section data-tab="name" aria-label="…">` of main is one, at #name and #name/more. `data-skip` is the
 * id of the skip link's target, `data-skip-text` the name of its text.
 *
 * Without a name in the address the first tab is shown; at /ui, the address of an earlier file-only page, Transcribe.
 *
 * To add a tab, write its section and, if needed, its module. A single tab has no bar.
 */

import { text } from "./texts.js";

let shown = "";
/** Parts of the page that listen now. @type {Set<string>} */
const live = new Set();

/**
 * Mark in the page's title, which is seen in any tab of the browser, that the page listens.
 * @param {boolean} on @param {string} part of the page that listens
 */
export function markLive(on, part = "talk") {
  if (on) live.add(part);
  else live.delete(part);
  showTitle();
}

function showTitle() {
  document.title = `${live.size ? "● " : ""}${shown} · Parley`;
}

export function showTabs() {
  const sections = [...document.querySelectorAll("main > section[data-tab]")];
  const bar = document.getElementById("tabs");
  const links = sections.map((section) => {
    const link = document.createElement("a");
    link.href = `#${section.dataset.tab}`;
    link.textContent = section.getAttribute("aria-label");
    return link;
  });
  bar.replaceChildren(...links);
  bar.hidden = sections.length < 2;

  const skip = document.getElementById("skip");
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the hash in the address names a tab
    document.getElementById(skip.hash.slice(1)).focus();
  });

  const show = () => {
    const named = location.hash.slice(1).split("/")[0];
    const tab = (name) => sections.find(({ dataset }) => dataset.tab === name);
    const wanted = tab(named) || (location.pathname.endsWith("/ui") && tab("transcribe")) || sections[0];
    skip.href = `#${wanted.dataset.skip}`;
    skip.textContent = text(wanted.dataset.skipText);
    document.body.dataset.shows = wanted.dataset.tab;
    shown = wanted.getAttribute("aria-label");
    showTitle();
    sections.forEach((section, index) => {
      section.hidden = section !== wanted;
      if (section === wanted) links[index].setAttribute("aria-current", "page");
      else links[index].removeAttribute("aria-current");
    });
  };
  window.addEventListener("hashchange", show);
  show();
}
