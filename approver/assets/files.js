"use strict";
// Files of a target on a page: the page asks, the gate answers, and a file that is fetched goes to the browser's downloads. All
// names are the target's, so they are text here and never more.

const SAYS = {
  over: "it is closed",
  fetch: "Fetch",
  rename: "Rename",
  remove: "Remove",
  follow: "Open",
  stop: "Stop",
  oddName: "Its name cannot be written here. Use sftp or WinSCP.",
  fetching: (name) => `${name} is on its way to your downloads.`,
  fetched: (name, bytes) => `${name} was fetched: ${count(bytes)}.`,
  notFetched: (name, words) => `${name} was not fetched whole: ${words}.`,
  sending: (name) => `${name} is sent:`,
  checking: (name) => `${name} was sent. The gate or ${place()} is not done with it yet…`,
  stored: (name, bytes) => `${name} was sent: ${count(bytes)}.`,
  stopped: (name, gone) => (gone ? `${name} was stopped, and nothing of it is left there.` : `${name} was stopped. What came of it until then stands there: it is not whole.`),
  notStored: (name, words, gone) => `${name} was not sent whole: ${words}.${gone ? "" : " What came of it stands there."}`,
  unread: (name) => `${name} could not be read on your own machine.`,
  failed: (what, words) => `${what}: ${words}.`,
  replaceTitle: (name) => `Overwrite ${name}?`,
  replaceWhy: "There is one of that name. It is overwritten as the new one comes: if that stops halfway, neither is whole.",
  removeTitle: (name) => `Remove ${name}?`,
  removeWhy: "It is gone then. A folder must be empty.",
  renameTitle: (name) => `Another name for ${name}`,
  makeTitle: "A new folder",
  made: (name) => `The folder ${name} was made.`,
  renamed: (from, to) => `${from} is called ${to} now.`,
  removed: (name) => `${name} was removed.`,
};

const files = at("files");
const [mayGet, mayPut] = ["get", "put"].map((what) => what in files.dataset);
const place = () => document.querySelector("h1").firstChild.textContent.replace(/^Files of /, "").trim();
const count = (bytes) => `${new Intl.NumberFormat("en-GB").format(bytes)} bytes`;
const plain = (name) => name.replace(HIDDEN, "\ufffd").replace(/[\t\n]/g, "\ufffd");
const BLOCK = 32 * 1024;
const AHEAD = 512 * 1024;
const LINES_MAX = 200;
let isGreeted = false;
// What is shown, what was asked for since, and how often that was.
let [folder, heading, opens] = [".", ".", 0];

const make = (tag, words = "") => Object.assign(document.createElement(tag), { textContent: words });
const button = (words, act) => {
  const made = make("button", words);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
};
const done = (words) => {
  const made = make("p", words);
  at("done").append(made);
  if (at("done").children.length > LINES_MAX) at("done").firstElementChild.remove();
  at("done").scrollTop = at("done").scrollHeight;
  return made;
};
const enable = (are) => files.querySelectorAll("button, input").forEach((one) => { one.disabled = !are; });

// Each question has a number, and what is answered to it comes one after another.
const asked = new Map();
let last = 0;
const asks = (what) => {
  const [n, answers, waiting] = [++last, [], []];
  if (!isGreeted || !page.isOpen()) return { next: async () => ["failed", { words: SAYS.over }], end: () => {} };
  asked.set(n, (answer) => (waiting.length > 0 ? waiting.shift()(answer) : answers.push(answer)));
  page.say({ n, ...what });
  return {
    next: () => new Promise((resolve) => (answers.length > 0 ? resolve(answers.shift()) : waiting.push(resolve))),
    end: () => asked.delete(n),
  };
};
const ask = async (what) => {
  const question = asks(what);
  const answer = await question.next();
  question.end();
  return answer;
};

const path = (name) => (folder.endsWith("/") ? folder + name : `${folder}/${name}`);
const isOdd = (name) => name.includes("\ufffd") || name.includes("/");

const open = async (wanted) => {
  heading = wanted;
  const turn = ++opens;
  const question = asks({ list: { path: wanted } });
  const entries = [];
  let [what, said] = await question.next();
  for (; what === "part"; [what, said] = await question.next()) entries.push(...said.entries);
  question.end();
  // Another was asked for meanwhile: that one is shown.
  if (turn !== opens) return;
  if (what === "failed") {
    done(SAYS.failed(plain(wanted), said.words));
    heading = at("path").value = folder;
    return;
  }
  folder = heading = said.path;
  at("path").value = folder;
  at("more").hidden = !said.more;
  const order = { folder: 0, link: 1, file: 2, other: 3 };
  const { compare } = new Intl.Collator();
  entries.sort((a, b) => order[a.kind] - order[b.kind] || compare(a.name, b.name));
  at("entries").replaceChildren(...entries.map(row));
};
const again = () => open(heading);

const row = ({ name, kind, size, modified }) => {
  const [made, head, cell, acts] = [make("tr"), make("th"), make("td"), make("div")];
  head.scope = "row";
  const words = document.createElement("bdi");
  const isFolder = kind === "folder";
  words.textContent = plain(name) + (isFolder ? "/" : "");
  if (isFolder && !isOdd(name)) {
    const into = button("", () => open(path(name)));
    into.className = "plain";
    into.append(words);
    head.append(into);
  } else head.append(words);
  if (isOdd(name)) acts.textContent = SAYS.oddName;
  else acts.append(...actions(name, kind));
  acts.className = "row";
  cell.append(acts);
  const when = modified === null ? "" : new Date(modified * 1000).toISOString().replace("T", " ").slice(0, 19);
  made.append(head, make("td", size === null || isFolder ? "" : new Intl.NumberFormat("en-GB").format(size)), make("td", when), cell);
  return made;
};
const actions = (name, kind) => {
  const named = (what) => `${what} ${plain(name)}`;
  const act = (text, run) => {
    const made = button(text, run);
    made.setAttribute("aria-label", named(text));
    return made;
  };
  const all = [];
  if (kind === "link") all.push(act(SAYS.follow, () => open(path(name))));
  if (mayGet && kind !== "folder") all.push(act(SAYS.fetch, () => fetches(name)));
  if (mayPut) all.push(act(SAYS.rename, () => renames(name)), act(SAYS.remove, () => removes(name, kind === "folder")));
  return all;
};

// Asks the technician, one thing after another, and gives what they typed; nothing, where they said no.
let questions = Promise.resolve();
const wanted = (title, why, name = null) => {
  const answer = questions.then(() => (page.isOpen() ? dialog(title, why, name) : null));
  questions = answer;
  return answer;
};
const dialog = (title, why, name) => new Promise((resolve) => {
  at("asked-title").textContent = title;
  at("asked-why").textContent = why;
  at("asked-name").hidden = name === null;
  at("named").value = name ?? "";
  at("asked").returnValue = "";
  at("yes").value = "yes";
  at("asked").addEventListener("close", () => resolve(at("asked").returnValue === "yes" ? at("named").value : null), { once: true });
  at("asked").showModal();
  (name === null ? at("no") : at("named")).focus();
});
at("no").addEventListener("click", () => at("asked").close());

const does = async (question, did, name) => {
  const [what, said] = await ask(question);
  done(what === "did" ? did : SAYS.failed(plain(name), said.words));
  await again();
};
// Of the folder that was looked at when it was asked for: another may have been opened since.
const removes = async (name, isFolder) => {
  const gone = path(name);
  if ((await wanted(SAYS.removeTitle(plain(name)), SAYS.removeWhy)) === null) return;
  await does({ remove: { path: gone, folder: isFolder } }, SAYS.removed(plain(name)), name);
};
const renames = async (name) => {
  const [from, into] = [path(name), path("")];
  const to = await wanted(SAYS.renameTitle(plain(name)), "", name);
  if (to === null || to === "" || to === name) return;
  await does({ rename: { from, to: to.startsWith("/") ? to : into + to } }, SAYS.renamed(plain(name), plain(to)), name);
};
const makes = async () => {
  const into = path("");
  const name = await wanted(SAYS.makeTitle, "", "");
  if (name === null || name === "") return;
  await does({ make: { path: into + name } }, SAYS.made(plain(name)), name);
};

// The form's answer is a download, which the browser takes over from the frame that it goes to.
let downloads = Promise.resolve();
const fetches = (name) => {
  const from = path(name);
  downloads = downloads.then(() => fetchOne(name, from));
};
const fetchOne = async (name, from) => {
  const question = asks({ fetch: { path: from } });
  let [what, said] = await question.next();
  if (what === "fetchable") {
    at("fetch").elements.ticket.value = said.ticket;
    at("fetch").submit();
    done(SAYS.fetching(plain(name)));
    [what, said] = await question.next();
  }
  question.end();
  done(what === "fetched" ? SAYS.fetched(plain(name), said.bytes) : SAYS.notFetched(plain(name), said.words));
};

// One file after another.
let queue = Promise.resolve();
const sends = (file) => {
  const into = path(file.name);
  queue = queue.then(() => send(file, into, false));
};
const send = async (file, into, replace) => {
  if (!page.isOpen()) return;
  const name = plain(file.name);
  const told = done(SAYS.sending(name));
  const bar = make("progress");
  [bar.max, bar.value] = [Math.max(file.size, 1), 0];
  bar.setAttribute("aria-label", name);
  let [isStopped, stop] = [false, null];
  const wake = new Promise((resolve) => { stop = () => resolve(null); });
  const press = button(SAYS.stop, () => {
    isStopped = true;
    stop();
  });
  told.append(" ", bar, " ", press);

  let [from, ahead, isSaid, isUnread] = [0, 0, false, false];
  const question = asks({ put: { path: into, replace } });
  let [what, said] = await question.next();
  let answer = question.next();
  while (what === "going" || what === "taken") {
    if (!isSaid && !isStopped && !isUnread && from < file.size && ahead <= AHEAD - BLOCK) {
      try {
        const bytes = await file.slice(from, from + BLOCK).arrayBuffer();
        page.send(new Uint8Array(bytes));
        [from, ahead] = [from + bytes.byteLength, ahead + bytes.byteLength];
      } catch {
        isUnread = true;
      }
    } else if (!isSaid && (isStopped || isUnread || from >= file.size)) {
      page.say({ n: 0, ...(isStopped || isUnread ? { stop: {} } : { done: {} }) });
      isSaid = true;
      press.remove();
      if (!isStopped && !isUnread) told.firstChild.textContent = SAYS.checking(name);
    } else {
      const next = await Promise.race(isSaid ? [answer] : [answer, wake]);
      if (next === null) continue;
      [what, said] = next;
      if (what === "taken") [ahead, bar.value, answer] = [ahead - said.bytes, bar.value + said.bytes, question.next()];
    }
  }
  question.end();
  if (what === "exists" && !isStopped) {
    told.remove();
    if ((await wanted(SAYS.replaceTitle(name), SAYS.replaceWhy)) !== null) await send(file, into, true);
    return;
  }
  told.textContent = {
    stored: () => SAYS.stored(name, said.bytes),
    exists: () => SAYS.stopped(name, true),
    stopped: () => (isUnread ? `${SAYS.unread(name)} ` : "") + SAYS.stopped(name, said.gone),
    "not-stored": () => SAYS.notStored(name, said.words, said.gone),
    failed: () => SAYS.failed(name, said.words),
  }[what]();
  await again();
};

const ANSWERS = ["part", "listed", "fetchable", "fetched", "not-fetched", "going", "exists", "taken", "stored", "stopped", "not-stored", "did", "failed"];
const page = sit(files.dataset.ticket, {
  opened: () => {},
  takes: () => {},
  heard: {
    greeted: () => {
      isGreeted = true;
      enable(true);
      open(".");
    },
    ...Object.fromEntries(ANSWERS.map((what) => [what, (said, n) => asked.get(n)?.([what, said])])),
  },
  ends: () => {
    enable(false);
    at("asked").close();
    for (const answer of asked.values()) answer(["failed", { words: SAYS.over }]);
  },
});

at("go").addEventListener("submit", (event) => {
  event.preventDefault();
  open(at("path").value);
});
at("up").addEventListener("click", () => open(path("..")));
at("make")?.addEventListener("click", makes);
at("chosen")?.addEventListener("change", ({ target }) => {
  [...target.files].forEach(sends);
  target.value = "";
});
files.addEventListener("dragover", (event) => event.preventDefault());
files.addEventListener("drop", (event) => {
  event.preventDefault();
  if (mayPut && page.isOpen()) [...event.dataTransfer.files].forEach(sends);
});
