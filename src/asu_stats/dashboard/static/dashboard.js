// What scripts add to a page that is complete without them.
import { localise } from "./local.js";
import { follow } from "./live.js";
import { searchAsTyped } from "./search.js";

localise(document);
searchAsTyped();
follow();

document.querySelector('nav.pages [aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "center" });

// A window menu closes like one: by Escape, and by a click elsewhere.
const picker = document.querySelector(".picker details");
if (picker) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && picker.open) {
      picker.open = false;
      picker.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    if (!picker.contains(event.target)) picker.open = false;
  });
}

// The page is readable and usable by now; charts may take their time.
if (document.querySelector("figure.chart")) {
  const { drawAll } = await import("./charts.js");
  await drawAll();
}
