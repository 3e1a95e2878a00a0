// Requests to our own site, and the one banner that tells when they fail.
//
// What is on the page stays when a request fails: the banner says since when it is old.

const banner = () => document.getElementById("trouble");
let failingSince = null;

// Printing waits for no answer: what is asked for meanwhile is asked with the page held.
let printing = false;
addEventListener("beforeprint", () => { printing = true; });
addEventListener("afterprint", () => { printing = false; });

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

export async function getJSON(url, options = {}) {
  const answer = await request(url, { headers: { Accept: "application/json" }, ...options });
  return answer.json();
}

export async function getText(url, options = {}) {
  const answer = await request(url, options);
  return answer.text();
}

export async function getBytes(url, options = {}) {
  const answer = await request(url, options);
  return answer.arrayBuffer();
}

export function csrfToken() {
  return document.body.dataset.csrf || "";
}

async function request(url, options) {
  let answer;
  try {
    answer = await (printing ? held(url, options) : fetch(url, { credentials: "same-origin", ...options }));
  } catch (error) {
    if (error.name !== "AbortError") showTrouble("The server cannot be reached.");
    throw error;
  }
  if (answer.status >= 500) showTrouble(`The server answered ${answer.status}.`);
  else settled();
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, problem);
}

// What fetch would answer, at once.  A request that holds the page gives its bytes as characters only.
function held(url, { headers = {} }) {
  const request = new XMLHttpRequest();
  request.open("GET", url, false);
  request.overrideMimeType("text/plain; charset=x-user-defined");
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.send();
  const bytes = () => Uint8Array.from(request.responseText, (one) => one.charCodeAt(0) & 0xff);
  return {
    status: request.status, ok: request.status < 300,
    json: async () => JSON.parse(new TextDecoder().decode(bytes())),
    text: async () => new TextDecoder().decode(bytes()),
    arrayBuffer: async () => bytes().buffer,
  };
}

function showTrouble(what) {
  failingSince = failingSince || new Date();
  const box = banner();
  if (!box) return;
  box.textContent = `${what} What you see is as of ${failingSince.toLocaleTimeString()}.`;
  box.hidden = false;
}

function settled() {
  failingSince = null;
  const box = banner();
  if (box) box.hidden = true;
}
