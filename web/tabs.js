/**
 * The pages inside the page: each `<section data-tab="name" aria-label="…">` of main is one, at #name and #name/more.
 * What `data-skip` names is where the link for skipping leads, in the words of `data-skip-text`.
 *
 * The first one is shown where none is named; at /ui, where a service for files only had its page, Transcribe is.
 *
 * To add one is to write its section and, where it needs code, its module. A lone tab needs no bar.
 */

import { text } from "./texts.js";

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
    event.preventDefault(); // its address would be one of a tab
    document.getElementById(skip.hash.slice(1)).focus();
  });

  const show = () => {
    const named = location.hash.slice(1).split("/")[0];
    const tab = (name) => sections.find(({ dataset }) => dataset.tab === name);
    const wanted = tab(named) || (location.pathname.endsWith("/ui") && tab("transcribe")) || sections[0];
    skip.href = `#${wanted.dataset.skip}`;
    skip.textContent = text(wanted.dataset.skipText);
    document.body.dataset.shows = wanted.dataset.tab;
    sections.forEach((section, index) => {
      section.hidden = section !== wanted;
      if (section === wanted) links[index].setAttribute("aria-current", "page");
      else links[index].removeAttribute("aria-current");
    });
  };
  window.addEventListener("hashchange", show);
  show();
}
