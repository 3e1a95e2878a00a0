// The API's description, where calls can be tried: with the session of this page and its CSRF token.

import { csrfToken } from "./fetching.js";

const place = document.getElementById("api");

const root = document.documentElement;

// Swagger UI has a dark set of colours of its own: it follows our theme.
const dress = () => root.classList.toggle("dark-mode", root.dataset.theme === "dark");
new MutationObserver(dress).observe(root, { attributeFilter: ["data-theme"] });
dress();

/* global SwaggerUIBundle */
SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  deepLinking: true,
  validatorUrl: null, // asks another host otherwise
  requestInterceptor(request) {
    const ours = new URL(request.url, location.href).origin === location.origin;
    if (ours && !["GET", "HEAD", "OPTIONS"].includes(request.method || "GET")) request.headers["X-CSRFToken"] = csrfToken();
    return request;
  },
});
