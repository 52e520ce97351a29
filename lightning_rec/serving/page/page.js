// The page of `demo=true`: texts of the server are put in as text, never as HTML.
"use strict";
const at = (id) => document.getElementById(id);
const picked = [];
let before = [], key = "", asked = 0, waiting;

const made = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};

async function ask(path, body) {
  const headers = {"Content-Type": "application/json"};
  if (key) headers.Authorization = `Bearer ${key}`;
  const settings = body ? {method: "POST", body: JSON.stringify(body), headers} : {headers};
  const answer = await fetch(path, settings);
  const found = await answer.json();
  if (answer.status === 401) at("key").hidden = false;
  if (!answer.ok) throw new Error(found.error.message);
  return found;
}

async function trying(work) {
  try { at("told").textContent = ""; await work(); } catch (error) { at("told").textContent = error.message; }
}

function entry(title, action, ...parts) {
  const line = made("li"), button = made("button");
  button.type = "button";
  button.append(...(parts.length ? parts : [title]));
  button.addEventListener("click", action);
  line.append(button);
  return line;
}

function pick(item) {
  picked.push(item);
  at("text").value = "";
  at("found").replaceChildren();
  renew();
}

async function find() {
  const text = at("text").value.trim(), number = ++asked;
  const found = text ? await ask(`/demo/items?text=${encodeURIComponent(text.slice(0, 100))}`) : [];
  if (number !== asked) return;
  at("found").replaceChildren(...found.map((each) => entry(each.title, () => pick(each))));
  if (text && !found.length) at("told").textContent = `No title or id has “${text}”.`;
}

function reason(row) {
  if (!row.why) return "";
  return `near ${row.why.title || row.why.item} (${row.why.cosine.toFixed(2)})`;
}

function moved(row, old) {
  if (!old) return "";
  const place = old.indexOf(row.item);
  if (place < 0) return "new";
  const steps = place + 1 - row.rank;
  return steps > 0 ? `▲ ${steps}` : steps < 0 ? `▼ ${-steps}` : "";
}

function column(model, number) {
  const card = made("article"), list = made("ol"), heading = made("h2", model.name);
  heading.append(" ", made("small", model.folder));
  for (const row of model.items) {
    const title = made("span", row.title || row.item);
    title.append(made("span", moved(row, before[number]), "moved"));
    const parts = [made("span", row.rank, "rank"), title, made("span", row.score.toFixed(2), "score"), made("span", reason(row), "why")];
    list.append(entry(row.title, () => pick({item: row.item, title: row.title || row.item}), ...parts));
  }
  card.append(heading, model.items.length ? list : made("p", "Recommendations come with your first pick.", "dim"));
  return card;
}

function show() {
  at("picked").replaceChildren(...picked.map((each, place) =>
    entry(each.title, () => { picked.splice(place, 1); renew(); }, `${each.title}  ×`)));
  at("clear").hidden = !picked.length;
}

function renew() {
  show();
  trying(async () => {
    const history = picked.map((each) => each.item);
    const {models, history: titled, popular = [], counted} = await ask("/demo/recommend", {history});
    if (titled.length === picked.length) titled.forEach((each, place) => { picked[place].title = each.title; });
    show();
    at("begin").hidden = !popular.length;
    at("begin").querySelector("h2").textContent = counted ? "Begin with a popular one" : "Begin with one of these";
    at("popular").replaceChildren(...popular.map((each) => entry(each.title, () => pick(each))));
    at("models").replaceChildren(...models.map(column));
    before = history.length ? models.map((model) => model.items.map((row) => row.item)) : [];
  });
}

at("text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => trying(find), 120); });
at("find").addEventListener("submit", (event) => { event.preventDefault(); at("found").querySelector("button")?.click(); });
at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("secret").value;
  at("key").hidden = true;
  renew();
});
at("clear").addEventListener("click", () => { picked.length = 0; renew(); });
// #pick=2571,260 begins with a history, for a link.
const begun = new URLSearchParams(location.hash.slice(1)).get("pick");
if (begun) for (const item of begun.split(",")) picked.push({item, title: item});
renew();
