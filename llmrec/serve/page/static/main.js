// Everything works without this; with it, parts of a page are fetched in place.
import { followPolls } from "./poll.js";
import { findTitles } from "./find.js";
import { swapping } from "./swap.js";
import { themeButton } from "./theme-button.js";

document.documentElement.classList.add("scripted");
document.querySelector(".menu [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
themeButton(document.getElementById("theme"));
swapping();
findTitles();
followPolls();
