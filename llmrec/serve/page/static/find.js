// Titles are found while they are typed (the ARIA combobox pattern); what is chosen becomes a chip of the form.
import { say } from "./swap.js";

const WAIT = 200;

export function findTitles() {
  const box = document.querySelector("[data-find]");
  if (!box) return;
  const input = box.querySelector("input");
  const list = document.createElement("ul");
  list.id = "titles";
  list.className = "titles";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Titles found");
  list.hidden = true;
  box.append(list);
  for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"], ["aria-controls", "titles"]]) {
    input.setAttribute(name, value);
  }
  let at = -1;
  let wait = 0;
  let asked = 0;

  const close = () => {
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (place) => {
    const options = [...list.children];
    at = (place + options.length) % options.length;
    options.forEach((one, index) => one.setAttribute("aria-selected", String(index === at)));
    input.setAttribute("aria-activedescendant", options[at].id);
    options[at].scrollIntoView({ block: "nearest" });
  };
  const choose = (option) => {
    addChip(option.dataset.id, option.dataset.title);
    input.value = "";
    close();
    input.focus();
    say(`${option.dataset.title} added`);
  };
  const show = (found) => {
    list.replaceChildren(...found.map((one, index) => {
      const option = document.createElement("li");
      option.id = `title-${index}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.dataset.id = one.id;
      option.dataset.title = one.title;
      const more = document.createElement("small");
      more.textContent = one.more;
      option.append(document.createTextNode(one.title), more);
      return option;
    }));
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(Boolean(found.length)));
    at = -1;
    say(found.length ? `${found.length} titles, use the arrow keys` : "No title has these words");
  };
  const look = async () => {
    const mine = ++asked;
    const words = input.value.trim();
    if (!words) return close();
    const alias = document.getElementById("alias")?.value || "";
    const response = await fetch(`/find?${new URLSearchParams({ q: words, alias })}`, { credentials: "same-origin" });
    if (response.ok && mine === asked) show(await response.json());
  };

  input.addEventListener("input", (event) => {
    event.stopPropagation();
    clearTimeout(wait);
    wait = setTimeout(() => look().catch(close), WAIT);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) { event.preventDefault(); close(); }
    if (event.key === "Enter") {
      event.preventDefault();
      if (!list.hidden) choose(list.children[Math.max(0, at)]);
    }
    if (!list.hidden && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      mark(event.key === "ArrowDown" ? at + 1 : Math.max(at, 0) - 1);
    }
  });
  input.addEventListener("blur", () => setTimeout(close, 150));
  list.addEventListener("pointerdown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) choose(option);
  });
  document.addEventListener("click", (event) => {
    const drop = event.target.closest("[data-drop]");
    if (!drop) return;
    event.preventDefault();
    const chip = drop.closest("li");
    say(`${chip.querySelector("span").textContent} taken out`);
    chip.remove();
    input.focus();
  });
}

function addChip(id, title) {
  const chips = document.querySelector("#chosen .chips");
  for (const one of chips.querySelectorAll("input")) if (one.value === id) one.closest("li").remove();
  const chip = document.createElement("li");
  chip.className = "chip";
  const hidden = document.createElement("input");
  hidden.type = "hidden";
  hidden.name = "history";
  hidden.value = id;
  const label = document.createElement("span");
  label.textContent = title;
  const drop = document.createElement("button");
  drop.type = "button";
  drop.className = "bare";
  drop.dataset.drop = "";
  drop.setAttribute("aria-label", `Take ${title} out`);
  drop.textContent = "×";
  chip.append(hidden, label, drop);
  chips.append(chip);
}
