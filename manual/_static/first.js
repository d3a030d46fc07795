// Before the icons are drawn: their style is in manual.css, because inline style is forbidden.
window.FontAwesomeConfig = { autoAddCss: false };
document.documentElement.classList.add("scripted");
