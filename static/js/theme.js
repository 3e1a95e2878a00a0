// Dark unless chosen otherwise.  Loaded before the page is drawn, so that it never flashes.
(function () {
  "use strict";
  var root = document.documentElement;
  function stored() {
    try { return localStorage.getItem("theme"); } catch (e) { return null; }
  }
  root.dataset.theme = stored() === "light" ? "light" : "dark";
  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll("[data-theme-toggle]").forEach(function (button) {
      function name() { button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark"; }
      button.hidden = false;
      name();
      button.addEventListener("click", function () {
        root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
        try { localStorage.setItem("theme", root.dataset.theme); } catch (e) { /* private mode */ }
        name();
      });
    });
  });
})();
