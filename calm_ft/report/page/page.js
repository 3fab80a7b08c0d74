// The blind comparison: two systems in a hidden order; votes are kept in this browser and can be saved as a file.
const KEY = `calm_ft votes ${document.body.dataset.page}`;
let memory = null;  // where the browser keeps nothing for pages from files
const kept = () => {
  try { return JSON.parse(localStorage.getItem(KEY)) || []; } catch { return memory || []; }
};
const keep = (all) => {
  memory = all;
  try { localStorage.setItem(KEY, JSON.stringify(all)); } catch { /* the page still has them until it is closed */ }
};

const clips = {};
for (const player of all("audio[data-system]")) {
  (clips[player.dataset.system] ||= {})[player.dataset.sentence] = player;
}
const systems = Object.keys(clips);
const titles = Object.fromEntries(systems.map((each) => [each, each.replace(/^tuned /, "").replace(/^reference/, "recordings")]));
const texts = all(".listen tbody th").map((each) => each.textContent.trim());

const shuffled = (list) => {
  const found = [...list];
  for (let place = found.length - 1; place > 0; place--) {
    const other = Math.floor(Math.random() * (place + 1));
    [found[place], found[other]] = [found[other], found[place]];
  }
  return found;
};

const pairs = () => {
  const found = [];
  systems.forEach((one, place) => systems.slice(place + 1).forEach((other) => found.push([one, other])));
  const weight = ([one, other]) => one.startsWith("base") && other.startsWith("tuned") ? 0
    : one.startsWith("tuned") && other.startsWith("tuned") ? 1 : 2;
  return found.sort((a, b) => weight(a) - weight(b));
};

// How often chance alone gives a split as uneven as this one or more so (two-sided binomial).
const chance = (wins, losses) => {
  const num = wins + losses, choose = [1];
  for (let k = 1; k <= num; k++) choose.push(choose[k - 1] * (num - k + 1) / k);
  const least = Math.min(wins, losses);
  const tail = choose.slice(0, least + 1).reduce((sum, each) => sum + each, 0) / 2 ** num;
  return Math.min(1, 2 * tail);
};

const told = (pair) => {
  const own = kept().filter((vote) => vote.pair.join() === pair.join());
  const [wins, losses] = pair.map((system) => own.filter((vote) => vote.preferred === system).length);
  const drawn = own.length - wins - losses;
  const times = (num) => num === 1 ? "once" : `${num} times`;
  const said = `${titles[pair[0]]} was preferred ${times(wins)}, ${titles[pair[1]]} ${times(losses)}, neither ${times(drawn)}.`;
  if (!(wins + losses)) return said;
  const share = chance(wins, losses);
  const sure = share < 0.05 ? "That is more than chance would give." : "That may be chance.";
  return `${said} ${sure} (A split as uneven comes by chance in ${(100 * share).toFixed(share < 0.01 ? 1 : 0)} of 100 cases.)`;
};

const show = (part) => {
  for (const each of ["setup", "trial", "result"]) one(`blind-${each}`).hidden = each !== part;
  const num = kept().length;
  one("blind-file").hidden = !num;
  one("blind-kept").textContent = num ? `${num} votes are kept in this browser.` : "";
};

let trials = [], players = [], pair = null, current = null;
const next = () => {
  current = trials.shift();
  if (!current) {
    one("blind-said").textContent = told(pair);
    return show("result");
  }
  one("blind-progress").textContent = `${trials.length + 1} to go`;
  one("blind-text").textContent = texts[current.sentence - 1];
  players.forEach((each) => each.remove());
  players = ["first", "second"].map((place) => {
    const player = new Audio(clips[current[place]][current.sentence].src);
    player.controls = true;
    player.setAttribute("aria-label", place);
    one(`blind-${place}`).append(player);
    return player;
  });
  show("trial");
};

const vote = (choice) => {
  if (!current) return;
  players.forEach((each) => each.pause());
  keep([...kept(), {
    pair, sentence: Number(current.sentence), text: texts[current.sentence - 1], first: current.first, second: current.second,
    vote: choice, preferred: choice === "neither" ? null : current[choice], at: new Date().toISOString(),
  }]);
  next();
};

const begin = () => {
  pair = pairs()[Number(one("blind-pair").value)];
  const both = Object.keys(clips[pair[0]]).filter((sentence) => clips[pair[1]][sentence]);
  trials = shuffled(both).map((sentence) => {
    const [first, second] = shuffled(pair);
    return { sentence, first, second };
  });
  next();
};

const save = () => {
  const content = { page: document.title, runs: all(".legend tbody tr").map((row) => row.innerText.split(/\s+/).slice(0, 2).join(" ")),
    votes: kept() };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }));
  link.download = "votes.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

if (one("blind") && systems.length > 1) {
  document.querySelector(".blind-start").hidden = false;
  pairs().forEach(([one_, other], place) => one("blind-pair").add(new Option(`${titles[one_]} and ${titles[other]}`, place)));
  one("open-blind").addEventListener("click", () => { current = null; show("setup"); one("blind").showModal(); });
  one("blind-begin").addEventListener("click", begin);
  one("blind-again").addEventListener("click", () => show("setup"));
  one("blind-save").addEventListener("click", save);
  one("blind-forget").addEventListener("click", () => { keep([]); show("setup"); });
  one("blind").addEventListener("close", () => players.forEach((each) => each.pause()));
  all("[data-vote]").forEach((button) => button.addEventListener("click", () => vote(button.dataset.vote)));
  document.addEventListener("keydown", (event) => {
    const choice = { 1: "first", 2: "second", 0: "neither" }[event.key];
    if (choice && one("blind").open && !one("blind-trial").hidden) vote(choice);
  });
}
