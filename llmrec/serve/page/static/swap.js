// A form or link with data-swap="ids" is sent in place: the page that comes back gives those elements anew.
// Pages are rendered by our own server with everything escaped; scripts in them do not run here.

let running = null;
let place = location.pathname + location.search;

function moved(url, how) {
  history[how](null, "", url);
  place = location.pathname + location.search;
}

export function say(words) {
  document.getElementById("says").textContent = words;
}

/** What tells an element of one page from the others, and is the same when the page comes again. */
function name(one) {
  return `${one.tagName} ${one.getAttribute("aria-label") || one.getAttribute("href") || one.textContent}`;
}

/** Fetch a page and put its elements with these ids in the place of those here. Returns whether it came. */
export async function swap(ids, url, options = {}) {
  const response = await fetch(url, { ...options, headers: { "X-Page": "swap" }, credentials: "same-origin" });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (response.redirected && new URL(response.url).pathname === "/sign-in") {
    location.assign("/sign-in");
    return false;
  }
  const problem = page.getElementById("problem");
  if (problem) {
    const here = document.getElementById(ids[0]);
    const heading = problem.querySelector("h1");
    const strong = document.createElement("p");
    strong.className = "strong";
    strong.textContent = heading.textContent;
    heading.replaceWith(strong);
    here.querySelector("#problem")?.remove();
    here.prepend(document.adoptNode(problem));
    return false;
  }
  for (const id of ids) {
    const fresh = page.getElementById(id);
    const here = document.getElementById(id);
    if (!fresh || !here) continue;
    const held = here.contains(document.activeElement) ? name(document.activeElement) : null;
    const open = new Set([...here.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
    here.replaceWith(document.adoptNode(fresh));
    for (const summary of fresh.querySelectorAll("details > summary")) {
      if (open.has(summary.textContent)) summary.parentElement.open = true;
    }
    if (held) [...fresh.querySelectorAll("a, button, summary, [tabindex]")].find((one) => name(one) === held)?.focus();
  }
  return true;
}

async function send(form, button, quiet = false) {
  const ids = form.dataset.swap.split(" ");
  const body = new URLSearchParams(new FormData(form, button));
  const target = document.getElementById(ids[0]);
  const url = new URL(button?.getAttribute("formaction") || form.getAttribute("action"), location.href);
  const options = { method: form.method };
  if (form.method === "post") options.body = body;
  else url.search = body;
  running?.abort();
  running = new AbortController();
  const mine = running;
  target.setAttribute("aria-busy", "true");
  if (!quiet) say(button?.dataset.says || form.dataset.says || "Working on it");
  try {
    const came = await swap(ids, url, { ...options, signal: mine.signal });
    const now = document.getElementById(ids[0]);
    if (came && form.method === "get") moved(url, "replaceState");
    if (!quiet) {
      now.focus({ preventScroll: true });
      if (now.getBoundingClientRect().top > innerHeight * 0.8) now.scrollIntoView();
      say(came ? told(now) : "That did not work");
    }
    if (came) await reasons();
  } catch (error) {
    if (error.name === "AbortError") return;
    say("The service could not be reached. Try again.");
    failed(document.getElementById(ids[0]));
  } finally {
    if (running === mine) document.getElementById(ids[0])?.removeAttribute("aria-busy");
  }
}

function told(region) {
  const note = region.querySelector("[role=status], [role=alert]");
  const count = region.querySelectorAll("ol.cards > li, ul.grid > li").length;
  return [note?.innerText.trim(), count ? `${count} items` : "Ready"].filter(Boolean).join(" ");
}

function failed(region) {
  const note = document.createElement("p");
  note.className = "note bad";
  note.setAttribute("role", "alert");
  note.textContent = "The service could not be reached. See that it runs, and try again.";
  region.prepend(note);
}

/** Why items are in the list: slower than the list, so asked for once it stands. */
async function reasons() {
  const form = document.querySelector("form[data-reasons]");
  if (!form) return;
  const response = await fetch(form.dataset.reasons, {
    method: "POST", body: new URLSearchParams(new FormData(form)), credentials: "same-origin",
  });
  if (!response.ok) return;
  const found = await response.json();
  for (const place of form.querySelectorAll("[data-reason]")) {
    const words = found[place.dataset.reason];
    if (!words) continue;
    place.querySelector("span").textContent = words;
    place.hidden = false;
  }
}

export function swapping() {
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-swap]");
    if (!form || event.submitter?.hasAttribute("data-go")) return;
    event.preventDefault();
    const pick = event.submitter?.name === "pick" ? form.elements.user_id : null;
    if (pick) pick.value = event.submitter.value;
    send(form, event.submitter);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const ids = link.dataset.swap.split(" ");
    swap(ids, link.href).then((came) => {
      if (!came) return;
      moved(link.href, "pushState");
      const now = document.getElementById(ids[0]);
      now.focus({ preventScroll: true });
      scrollTo({ top: 0 });
      say(told(now));
    }, () => location.assign(link.href));
  });
  addEventListener("popstate", () => {
    if (location.pathname + location.search !== place) location.reload(); // not for a mere #fragment
  });
  let wait = 0;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-live]");
    if (!form) return;
    clearTimeout(wait);
    wait = setTimeout(() => send(form, null, true), 500);
  });
}
