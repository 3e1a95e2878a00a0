// Dark unless chosen otherwise.  Loaded before the page is drawn, so that it never flashes.
(function () {
  "use strict";
  var root = document.documentElement;
  function stored() {
    try { return localStorage.getItem("theme"); } catch (e) { return null; }
  }
  function show(theme) {
    root.dataset.theme = theme === "light" ? "light" : "dark";
    document.querySelectorAll("[data-theme-toggle]").forEach(function (button) {
      button.title = root.dataset.theme === "dark" ? "Light theme" : "Dark theme";
      button.setAttribute("aria-label", button.title);
    });
  }
  show(stored());
  // the admin reads the same key, and would follow the system where there is none
  if (!stored()) try { localStorage.setItem("theme", "dark"); } catch (e) { /* private mode */ }
  document.addEventListener("DOMContentLoaded", function () {
    show(root.dataset.theme);
    document.querySelectorAll("[data-theme-toggle]").forEach(function (button) {
      button.hidden = false;
      button.addEventListener("click", function () {
        show(root.dataset.theme === "dark" ? "light" : "dark");
        try { localStorage.setItem("theme", root.dataset.theme); } catch (e) { /* private mode */ }
      });
    });
  });
  // another tab has chosen
  window.addEventListener("storage", function (event) { if (event.key === "theme") show(event.newValue); });
})();
