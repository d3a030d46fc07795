// Before the first paint: the colours that the reader has chosen. Kept in the browser, no cookie.
"use strict";
{
  const choices = ["", "light", "dark"];
  const labels = { "": "as the system", light: "light", dark: "dark" };
  const signs = { "": "◐", light: "☀", dark: "☾" };
  const root = document.documentElement;
  let chosen = "";
  try {
    chosen = localStorage.getItem("theme") || "";
  } catch {
    // A browser that keeps nothing shows the system's colours.
  }
  if (!choices.includes(chosen)) chosen = "";

  const show = () => {
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
  };
  show();

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("button.theme");
    const name = () => {
      button.textContent = signs[chosen];
      button.setAttribute("aria-label", `Colours: ${labels[chosen]}`);
      button.title = `Colours: ${labels[chosen]}`;
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
