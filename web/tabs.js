/**
 * The pages inside the page: each `<section data-tab="name" aria-label="…">` of main is one, at #name.
 *
 * To add one is to write its section and, where it needs code, its module. A lone tab needs no bar.
 */

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

  const show = () => {
    const wanted = sections.find(({ dataset }) => `#${dataset.tab}` === location.hash) ?? sections[0];
    sections.forEach((section, index) => {
      section.hidden = section !== wanted;
      if (section === wanted) links[index].setAttribute("aria-current", "page");
      else links[index].removeAttribute("aria-current");
    });
  };
  window.addEventListener("hashchange", show);
  show();
}
