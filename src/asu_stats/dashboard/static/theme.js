// Before the first paint: the colours that the reader has chosen. Kept in the browser, no cookie.
"use strict";
{
  const choices = ["", "light", "dark"];
  const labels = { "": "system", light: "light", dark: "dark" };
  const signs = { "": "◐", light: "☀", dark: "☾" };
  const root = document.documentElement;
  let chosen = "";
  try {
    chosen = localStorage.getItem("theme") || "";
  } catch {
    // A browser that keeps nothing shows the system's colours.
  }
  if (!choices.includes(chosen)) chosen = "";

  // Charts get their place before the first paint; without scripts that can draw they have none.
  if ("noModule" in document.createElement("script")) root.classList.add("scripted");

  const show = () => {
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
  };
  show();

  document.addEventListener("DOMContentLoaded", () => {
    if (!root.dataset.scripts) root.classList.remove("scripted");
    const button = document.querySelector("button.theme");
    if (!button) return;
    const name = () => {
      button.textContent = signs[chosen];
      button.setAttribute("aria-label", `Theme: ${labels[chosen]}`);
      button.title = `Theme: ${labels[chosen]}`;
    };
    name();
    button.hidden = false;
    button.addEventListener("click", () => {
      chosen = choices[(choices.indexOf(chosen) + 1) % choices.length];
      try {
        localStorage.setItem("theme", chosen);
      } catch {
        // It holds for this page then.
      }
      show();
      name();
      document.dispatchEvent(new Event("theme"));
    });
  });
}
