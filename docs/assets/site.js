// What scrolls sideways is reached with the keyboard.
function reachable() {
  const found = { code: 0, table: 0, picture: 0 };
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, .output")) {
    const kind = box.tagName === "CODE" ? "code" : box.querySelector("img") ? "picture" : "table";
    found[kind] += 1;
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", `${kind} ${found[kind]}`);
    }
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
// The theme's search is a dialog, which needs a name.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
