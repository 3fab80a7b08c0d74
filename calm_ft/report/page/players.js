"use strict";
// Players: one at a time, a line that moves over the picture, and a click on the picture plays from there.
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (id) => document.getElementById(id);

document.addEventListener("play", (event) => {
  all("audio").filter((each) => each !== event.target).forEach((each) => each.pause());
}, true);

for (const clip of all(".clip")) {
  const picture = clip.querySelector(".picture"), player = clip.querySelector("audio");
  if (!picture || !player) continue;
  const shownSec = Number(picture.dataset.shown) || 1;
  const follow = () => {
    const at = player.currentTime / shownSec;
    picture.style.setProperty("--at", at > 0 && at <= 1 ? at : -1);
    if (!player.paused) requestAnimationFrame(follow);
  };
  player.addEventListener("play", follow);
  player.addEventListener("seeked", follow);
  player.addEventListener("ended", () => picture.style.setProperty("--at", -1));
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    player.currentTime = (event.clientX - box.left) / box.width * shownSec;
    player.play();
  });
}
