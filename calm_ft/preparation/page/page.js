// The table of all clips: filtered, sorted and shown a page at a time, so that 100,000 rows do not slow the browser.
const TOKEN = document.body.dataset.token || "";
const TITLES = JSON.parse(one("titles").textContent);
const ROWS_OF_A_PAGE = 50, MAX_OPTIONS = 500;
// As survey.table_row writes them.
const [ID, TEXT, SPEAKER, SPLIT, LENGTH, SNR, LEVEL, RATE, PROBLEMS, SOURCE, REASON, ORIGINAL] = [...Array(12).keys()];
const NUMBERS = { [LENGTH]: ["s", 1], [SNR]: ["dB SNR", 0], [LEVEL]: ["LUFS", 1], [RATE]: ["char/s", 1] };  // unit, places
let columns = [
  [TEXT, "text"], [SPEAKER, "speaker", "wide"], [SPLIT, "part", "part"], [LENGTH, "length (s)"], [SNR, "SNR (dB)"],
  [LEVEL, "level (LUFS)"], [RATE, "char/s"], [PROBLEMS, "problems", "wide"],
];
const collator = new Intl.Collator(undefined, { numeric: true });
let clips = [], searched = null, shown = [], place = 0, sorted = { column: null, up: true };
let edits = {};  // id -> {text?, use?}, where the page is served

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const spoken = (num) => num.toLocaleString("en-US");
const words = (kind) => kind.replaceAll("_", " ");
const textOf = (clip) => edits[clip[ID]]?.text ?? clip[TEXT];
const isUsed = (clip) => edits[clip[ID]]?.use ?? clip[SPLIT] !== "left out";

async function unpacked() {
  const packed = one("packed").textContent;
  const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  one("packed").remove();
  return JSON.parse(await new Response(stream).text());
}

const PARTS = {
  kept: (clip) => clip[SPLIT] !== "left out",
  changed: (clip) => clip[ID] in edits,
};
const HAS = { any: (clip) => clip[PROBLEMS].length > 0, none: (clip) => clip[PROBLEMS].length === 0 };

function filter() {
  const part = one("part").value, speaker = one("speaker").value, problem = one("problem").value;
  const wanted = one("find").value.trim().toLowerCase();
  if (wanted && !searched) {
    searched = clips.map((clip) => [textOf(clip), clip[ID], clip[SOURCE], clip[REASON], clip[SPEAKER]].join("\n").toLowerCase());
  }
  shown = [];
  clips.forEach((clip, number) => {
    if (part && !(PARTS[part] ? PARTS[part](clip) : clip[SPLIT] === part)) return;
    if (speaker && "=" + clip[SPEAKER] !== speaker) return;
    if (problem && !(HAS[problem] ? HAS[problem](clip) : clip[PROBLEMS].includes(problem.slice(1)))) return;
    if (wanted && !searched[number].includes(wanted)) return;
    shown.push(clip);
  });
  sort();
  place = 0;
  show();
}

function sort() {
  const { column, up } = sorted;
  if (column === null) return;
  const value = (clip) => column === TEXT ? textOf(clip) : column === PROBLEMS ? clip[PROBLEMS].join() : clip[column];
  const sign = up ? 1 : -1;
  const compare = NUMBERS[column] ? (a, b) => a - b : collator.compare;
  // What has no value stands last in both directions.
  const isMissing = (each) => each === null || each === "";
  const keyed = shown.map((clip) => [value(clip), clip]);
  keyed.sort(([a], [b]) => isMissing(a) - isMissing(b) || (isMissing(a) ? 0 : sign * compare(a, b)));
  shown = keyed.map(([, clip]) => clip);
}

function show() {
  const last = Math.max(0, Math.ceil(shown.length / ROWS_OF_A_PAGE) - 1);
  place = Math.min(Math.max(place, 0), last);
  const from = place * ROWS_OF_A_PAGE, rows = shown.slice(from, from + ROWS_OF_A_PAGE);
  one("rows").replaceChildren(...rows.map(row));
  const lengths = shown.reduce((sum, clip) => sum + (clip[LENGTH] || 0), 0);
  one("shown").textContent = `${spoken(shown.length)} of ${spoken(clips.length)} clips, ${(lengths / 60).toFixed(1)} minutes`;
  one("page").textContent = shown.length ? `${spoken(from + 1)} to ${spoken(from + rows.length)} of ${spoken(shown.length)}` : "no clip";
  one("first").disabled = one("back").disabled = place === 0;
  one("next").disabled = one("last").disabled = place === last;
}

function cell(clip, column) {
  const made = element("td", { dir: "auto" });
  if (NUMBERS[column]) {
    const [unit, places] = NUMBERS[column];
    made.dataset.unit = unit;
    made.textContent = clip[column] === null ? "" : clip[column].toFixed(places);
  } else if (column === PROBLEMS) {
    made.append(...clip[PROBLEMS].map((kind) => element("span", { className: "kind", textContent: words(kind), title: TITLES[kind] || kind })));
  } else if (column === SPLIT) {
    const was = clip[SPLIT] !== "left out";
    made.textContent = isUsed(clip) === was ? clip[SPLIT] : was ? "left out by you" : "let back in";
  } else {
    made.textContent = clip[column];
  }
  return made;
}

function row(clip) {
  const made = element("tr", { className: isUsed(clip) ? "" : "out" });
  if (clip[ID] in edits) made.classList.add("changed");
  const head = element("th", { scope: "row" }, element("span", { dir: "auto", textContent: textOf(clip) || "(no text)" }));
  const before = textOf(clip) !== clip[TEXT] ? clip[TEXT] : clip[ORIGINAL];
  if (before) head.append(element("small", { dir: "auto", textContent: `originally: ${before}` }));
  if (clip[REASON]) head.append(element("small", { className: "reason", textContent: clip[REASON] }));
  head.append(element("small", { textContent: [clip[ID], clip[SOURCE]].filter(Boolean).join(", ") }));
  if (TOKEN) head.append(actions(clip, head));
  made.append(head, ...columns.slice(1).map(([column]) => cell(clip, column)));
  return made;
}

// What only the served page can do: play every clip, correct its text, leave it out or let it back in.
function actions(clip, head) {
  const button = (textContent, label, run) => {
    const made = element("button", { type: "button", textContent, onclick: run });
    made.setAttribute("aria-label", `${label}: ${clip[ID]}`);
    return made;
  };
  const use = isUsed(clip);
  return element("div", { className: "actions" },
    button("Play", "Play", () => play(clip, head)),
    button("Edit text", "Edit the text", () => edit(clip, head)),
    button(use ? "Leave out" : "Let back in", use ? "Leave out" : "Let back in", (event) => send(clip, { use: !use }, event.target.closest("tr"))));
}

function play(clip, head) {
  let player = head.querySelector("audio");
  if (!player) {
    player = element("audio", { controls: true, src: `audio?id=${encodeURIComponent(clip[ID])}` });
    player.setAttribute("aria-label", clip[ID]);
    player.addEventListener("error", () => player.replaceWith(element("small", { textContent: "The audio cannot be played here." })));
    head.append(player);
  }
  player.play().catch(() => { /* the error is shown, or the person presses play */ });
}

function edit(clip, head) {
  if (head.querySelector(".edit")) return head.querySelector("textarea").focus();
  const field = element("textarea", { value: textOf(clip), rows: 3, dir: "auto" });
  field.setAttribute("aria-label", `Text of ${clip[ID]}`);
  const close = () => { form.remove(); head.querySelectorAll(".actions button")[0]?.focus(); };
  const form = element("form", { className: "edit" }, field,
    element("div", { className: "actions" }, element("button", { textContent: "Save" }),
      element("button", { type: "button", textContent: "Cancel", onclick: close })));
  form.addEventListener("submit", (event) => { event.preventDefault(); send(clip, { text: field.value }, head.parentElement); });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
  });
  head.append(form);
  field.focus();
}

async function send(clip, change, made) {
  const said = one("saved");
  said.classList.remove("failed");
  try {
    const answer = await fetch("corrections", {
      method: "POST", headers: { "Content-Type": "application/json", "X-Token": TOKEN },
      body: JSON.stringify({ id: clip[ID], ...change }),
    });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    edits[clip[ID]] = content;
    searched = null;
    tell("Saved. ");
    renew(clip, made);
  } catch (error) {
    said.classList.add("failed");
    said.textContent = `Not saved: ${error.message || error}`;
  }
}

// One row anew, so that what is open in the others stays open; its player goes on, and the focus stays where it was.
function renew(clip, made) {
  const fresh = row(clip), player = made.querySelector("audio");
  const had = [...made.querySelectorAll("th > .actions button")].indexOf(document.activeElement);
  if (player) fresh.querySelector("th").append(player);
  made.replaceWith(fresh);
  fresh.querySelectorAll("th > .actions button")[had < 0 ? 1 : had].focus();
}

function tell(before = "") {
  const num = Object.keys(edits).length;
  if (num) one("saved").textContent = `${before}${spoken(num)} ${num === 1 ? "clip is" : "clips are"} changed here; the next run of prepare.py uses that.`;
}

function options(name, choices) {
  one(name).replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
  one(name).addEventListener("change", filter);
}

const counted = (values) => {
  const found = new Map();
  for (const each of values) found.set(each, (found.get(each) || 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1]);
};

function begin() {
  const splits = counted(clips.map((clip) => clip[SPLIT]));
  options("part", [["", "all clips"], ["kept", "all that are kept"], ...splits.map(([split, num]) => [split, `${split} (${spoken(num)})`]),
    ...(TOKEN ? [["changed", "changed here"]] : [])]);
  const speakers = counted(clips.map((clip) => clip[SPEAKER]).filter(Boolean));
  options("speaker", [["", "all speakers"], ...speakers.slice(0, MAX_OPTIONS).map(([name, num]) => ["=" + name, `${name} (${spoken(num)})`])]);
  const kinds = counted(clips.flatMap((clip) => clip[PROBLEMS]));
  options("problem", [["", "with or without"], ["any", "with a problem"], ["none", "without a problem"],
    ...kinds.map(([kind, num]) => ["=" + kind, `${TITLES[kind] || words(kind)} (${spoken(num)})`])]);
  if (speakers.length < 2) {
    columns = columns.filter(([column]) => column !== SPEAKER);
    one("speaker").parentElement.hidden = true;
  }
  for (const [column, title, className = ""] of columns) {
    const head = element("th", { scope: "col", className });
    head.append(element("button", { type: "button", textContent: title, onclick: () => {
      sorted = { column, up: sorted.column === column ? !sorted.up : true };
      all("#heads th").forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
      sort();
      place = 0;
      show();
    } }));
    one("heads").append(head);
  }
  let waiting = 0;
  one("find").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); });
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  const turn = { first: () => 0, back: () => place - 1, next: () => place + 1, last: () => Infinity };
  for (const [name, to] of Object.entries(turn)) one(name).addEventListener("click", () => { place = to(); show(); });
  one("browse").hidden = false;
  one("reading").remove();
  tell();
  filter();
}

// From a problem or an example to its rows in the table.
function look(find, problem) {
  one("find").value = find;
  for (const name of ["part", "speaker"]) one(name).value = "";
  one("problem").value = problem && all("#problem option").some((each) => each.value === "=" + problem) ? "=" + problem : "";
  filter();
  one("clips").scrollIntoView();
  one("find").focus({ preventScroll: true });
}
all("button[data-clip]").forEach((each) => each.addEventListener("click", () => look(each.dataset.clip, "")));
all("button[data-kind]").forEach((each) => each.addEventListener("click", () => look("", each.dataset.kind)));

unpacked().then(async (found) => {
  clips = found;
  if (TOKEN) edits = await (await fetch("corrections")).json();
  begin();
}).catch((error) => { one("reading").textContent = `The table cannot be shown: ${error.message || error}`; });
