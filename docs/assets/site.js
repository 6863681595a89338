// What scrolls sideways is reached with the keyboard.
function reachable() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, .output")) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", box.tagName === "CODE" ? "code" : "table");
    }
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
// The theme's search is a dialog, which needs a name.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
