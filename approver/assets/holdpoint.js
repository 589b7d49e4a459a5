"use strict";
// What pages cannot do without script: passkeys, what changes by itself, and a button that has to be held.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const WORDS = {
  none: "This browser knows no passkeys, or does not trust this page's certificate. The administrator's guide says how it comes to.",
  NotAllowedError: "The passkey gave no answer: it was not touched in time, was refused, or this is not where it was made. Try again.",
  InvalidStateError: "This key is enrolled here already. Use another one.",
  away: "The gate did not answer: nothing was done. Try again.",
  notThere: "You have not said yet that you are there.",
  noLonger: "You count as there no longer. Say that you are there.",
  nobody: "nobody",
  newestOf: (count) => `This is the newest of ${count} screens that are open.`,
  chosenOf: (connection, count) => `This is screen ${connection} of ${count} that are open.`,
  closed: (connection) => `Screen ${connection}, which you chose, is closed. This is the newest.`,
  newest: "The newest screen",
  screen: ({ connection, width, height }) => `Screen ${connection}, ${width} by ${height}`,
  lostPicture: (why) => `The picture was lost: ${why}. The session goes on, and what is done is listed below. Whoever connects anew is seen again.`,
  noScreen: "No screen is open now. So it looked last.",
  skipped: "Skipped: what came took long to reach you, and some of what was drawn in between was not shown. This is how it stands.",
  stopped: {
    "by-operator": "Paused: an operator froze the technician's input.",
    "nobody-watches": "Input waits: nobody who watches has said that they are there.",
    "not-accepted": "The shift changed: input waits until an operator accepts the work.",
    "time-is-up": "The time is up: input is stopped, and the session ends soon.",
  },
  SecurityError: "The browser refuses passkeys on this page: its address is not the one that the gate is configured with.",
};

const ASK = {
  get: async ({ site, challenge }) => {
    const publicKey = { challenge: bytes(challenge), rpId: site, userVerification: "required", timeout: 120000 };
    const { response } = await navigator.credentials.get({ publicKey });
    return {
      "client-data": response.clientDataJSON,
      "authenticator-data": response.authenticatorData,
      "signature": response.signature,
      "user-handle": response.userHandle ?? new ArrayBuffer(0),
    };
  },
  create: async ({ site, challenge, person, name }) => {
    const publicKey = {
      challenge: bytes(challenge),
      rp: { id: site, name: "Holdpoint" },
      user: { id: bytes(person), name, displayName: name },
      pubKeyCredParams: [{ type: "public-key", alg: -7 }],
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
      attestation: "none",
      timeout: 120000,
    };
    const { response } = await navigator.credentials.create({ publicKey });
    return { "client-data": response.clientDataJSON, "authenticator-data": response.getAuthenticatorData() };
  },
};

const withPasskey = async (form, event) => {
  event.preventDefault();
  const said = form.querySelector(".said");
  const button = form.querySelector("button");
  said.textContent = "";
  if (!window.PublicKeyCredential) {
    said.textContent = WORDS.none;
    return;
  }
  button.disabled = true;
  try {
    const asked = { ...form.dataset };
    if (asked.fresh) {
      const fresh = await (await fetch(`/challenge?for=${asked.fresh}`, { cache: "no-store" })).json();
      asked.challenge = fresh.challenge;
      form.elements.nonce.value = fresh.nonce;
    }
    const answer = await ASK[asked.passkey](asked);
    for (const [name, value] of Object.entries(answer)) {
      // A page that was gone back to has those of the first time.
      const field = form.elements.namedItem(name) ?? form.appendChild(Object.assign(document.createElement("input"), { type: "hidden", name }));
      field.value = text(value);
    }
    form.submit();
  } catch (error) {
    said.textContent = WORDS[error.name] ?? `${error.name}: ${error.message}`;
    button.disabled = false;
  }
};

// A display's key: made in this browser, kept in it, and given out to nobody, not even to this script.
const KEY = { name: "ECDSA", namedCurve: "P-256" };

const keys = (mode, act) => new Promise((resolve, reject) => {
  const opening = indexedDB.open("holdpoint", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const asked = act(opening.result.transaction("keys", mode).objectStore("keys"));
    asked.onerror = () => reject(asked.error);
    asked.onsuccess = () => resolve(asked.result);
  };
});

const joined = (...parts) => new Uint8Array(parts.flatMap((part) => [...(typeof part === "string" ? new TextEncoder().encode(part) : part)]));

// A string and a whole number as SSH writes them (RFC 4251, 5).
const string = (part) => {
  const all = joined(part);
  return joined([all.length >>> 24, all.length >>> 16, all.length >>> 8, all.length], all);
};

const number = (bytes) => {
  const from = bytes.findIndex((byte) => byte !== 0);
  const digits = bytes.slice(from);
  return string(digits[0] > 127 ? joined([0], digits) : digits);
};

const base64 = (data) => btoa(String.fromCharCode(...data));

const publicKey = async ({ publicKey: key }) => {
  const point = new Uint8Array(await crypto.subtle.exportKey("raw", key));
  return joined(string("ecdsa-sha2-nistp256"), string("nistp256"), string(point));
};

const shown = (wire) => `ecdsa-sha2-nistp256 ${base64(wire)}`;

// A signature to sign in with, as `ssh-keygen -Y sign` makes them (PROTOCOL.sshsig).
const signed = async (pair, message) => {
  const head = joined(string("holdpoint-login@v1"), string(""), string("sha256"));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", message));
  const made = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, joined("SSHSIG", head, string(hash)));
  const [r, s] = [new Uint8Array(made, 0, 32), new Uint8Array(made, 32)];
  const signature = joined(string("ecdsa-sha2-nistp256"), string(joined(number(r), number(s))));
  const all = joined("SSHSIG", [0, 0, 0, 1], string(await publicKey(pair)), head, string(signature));
  return `-----BEGIN SSH SIGNATURE-----\n${base64(all).replace(/.{1,70}/g, "$&\n")}-----END SSH SIGNATURE-----\n`;
};

// What the gate has against it; nothing where it was done.
const sent = async (path, fields) => {
  const answer = await fetch(path, { method: "POST", body: new URLSearchParams(fields) });
  return answer.ok ? "" : (await answer.json()).detail;
};

const SIGN_IN_AGAIN_MS = 5000;

const LEAD_BACK_MS = 1000;

const LEFT_ALONE_MS = 60000;

const signInAsDisplay = async (pair) => {
  const fresh = await (await fetch("/challenge?for=display", { cache: "no-store" })).json();
  const signature = await signed(pair, bytes(fresh.challenge));
  return sent("/display/sign-in", { nonce: fresh.nonce, key: shown(await publicKey(pair)), signature });
};

// Nobody sits before a display: it tries until it is in.
const beDisplay = async (root) => {
  const said = root.querySelector(".said");
  const form = root.querySelector("form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const pair = await crypto.subtle.generateKey(KEY, false, ["sign"]);
      await keys("readwrite", (store) => store.put(pair, "new"));
      said.textContent = await sent("/display/enrol", { code: form.elements.code.value, key: shown(await publicKey(pair)) });
      if (said.textContent !== "") return;
      location.reload();
    } catch (error) {
      said.textContent = `This did not work: ${error.message}`;
    }
  });
  // The one made last may be enrolled without that this browser heard so.
  const again = async () => {
    for (const name of ["new", "display"]) {
      const pair = await keys("readonly", (store) => store.get(name)).catch(() => undefined);
      if (!pair) continue;
      const against = await signInAsDisplay(pair).catch(() => "The gate does not answer.");
      if (against === "") {
        await keys("readwrite", (store) => store.put(pair, "display"));
        location.assign("/");
        return;
      }
      said.textContent = against;
    }
    form.hidden = false;
    if (said.textContent !== "") setTimeout(again, SIGN_IN_AGAIN_MS);
  };
  await again();
};

// A display that was signed out, because the gate was started again, say.
const leadBack = async () => {
  if (location.hash === "#person") return;
  const isDisplay = await keys("readonly", (store) => store.get("display")).catch(() => undefined);
  if (isDisplay) setTimeout(() => location.replace("/display"), LEAD_BACK_MS);
};

// Whoever looked at something on a display has gone: it is the board again.
const returnToBoard = () => {
  let timer = null;
  const touched = () => {
    clearTimeout(timer);
    timer = setTimeout(() => location.assign("/"), LEFT_ALONE_MS);
  };
  for (const name of ["pointerdown", "keydown"]) addEventListener(name, touched);
  touched();
};

const HOLD_MS = 800;

const held = (button) => {
  let timer = null;
  const stop = () => {
    clearTimeout(timer);
    timer = null;
    button.classList.remove("held");
  };
  let isKeyed = false;
  const start = (event) => {
    if (timer !== null || (event.key && event.key !== " " && event.key !== "Enter")) return;
    isKeyed = Boolean(event.key);
    button.classList.add("held");
    timer = setTimeout(() => { stop(); button.form.submit(); }, HOLD_MS);
  };
  button.addEventListener("click", (event) => {
    event.preventDefault();
    // Pressed by neither finger nor key: by a screen reader or a voice, which cannot hold it.
    if (event.detail === 0 && !isKeyed && confirm("Cut now?")) button.form.submit();
  });
  for (const name of ["pointerdown", "keydown"]) button.addEventListener(name, start);
  for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) button.addEventListener(name, stop);
};

// A page on which somebody watches stays where it is: going would end that they do.
const staying = async (form, event) => {
  event.preventDefault();
  const said = form.querySelector(".said");
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual" });
    const isDone = answer.ok || answer.type === "opaqueredirect";
    const page = answer.type === "opaqueredirect" ? "" : await answer.text();
    said.textContent = new DOMParser().parseFromString(page, "text/html").querySelector(".notice")?.textContent ?? (isDone ? "" : WORDS.away);
    if (isDone) form.querySelectorAll("input:not([type=hidden])").forEach((field) => { field.value = ""; });
  } catch {
    said.textContent = WORDS.away;
  }
  button.disabled = false;
};

// How many answers a technician waits for on this page.
const awaited = (main) => Number(main.querySelector("[data-awaits]")?.dataset.awaits ?? 0);

// A browser tells on its own where somebody once said that it may, and asks that only when a button is pressed.
const offerToTell = (button) => {
  button.hidden = window.Notification?.permission !== "default";
  button.addEventListener("click", async () => {
    await Notification.requestPermission();
    button.hidden = true;
  });
};

const tellElsewhere = (main) => {
  const words = main.querySelector("h1").innerText;
  document.title = `● ${words}`;
  if (window.Notification?.permission === "granted") new Notification("Holdpoint", { body: words, tag: location.pathname });
};

const prepare = (root) => {
  for (const form of root.querySelectorAll("form[data-stay]")) {
    form.addEventListener("submit", (event) => staying(form, event));
  }
  for (const form of root.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", (event) => withPasskey(form, event));
  }
  root.querySelectorAll("button[data-hold]").forEach(held);
  root.querySelectorAll("button[data-tells]").forEach(offerToTell);
};

let isPressed = false;
addEventListener("pointerdown", () => { isPressed = true; }, true);
for (const name of ["click", "pointercancel"]) addEventListener(name, () => { isPressed = false; }, true);
addEventListener("pointerup", () => setTimeout(() => { isPressed = false; }), true);

// What stands there to be copied, while somebody does.
const isCopied = (main) => {
  const chosen = getSelection();
  const at = chosen.isCollapsed ? document.activeElement : chosen.anchorNode?.parentElement;
  return main.contains(at) && at.closest("pre.file") !== null;
};

// A page in which somebody types, or presses a button, stays as it is.
const isInUse = (main) => isPressed || main.querySelector("details[open]") !== null || isCopied(main)
  || [...main.querySelectorAll("input, textarea")].some((field) =>
    field === document.activeElement || (field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue));

// What stays the same about a link or a button when the page is drawn again.
const nameOf = (one) => `${one.getAttribute("href") ?? one.form?.action} ${one.textContent}`;

// Whether what the page shows is so now.
const refresh = async () => {
  const main = document.querySelector("main");
  if (isInUse(main)) return true;
  const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
  if (answer.type === "opaqueredirect" || answer.status === 401) {
    location.reload();
    return true;
  }
  if (!answer.ok) return false;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!fresh) return false;
  if (isInUse(main)) return true;
  const focused = main.contains(document.activeElement) && document.activeElement !== main ? nameOf(document.activeElement) : null;
  main.replaceChildren(...fresh.childNodes);
  prepare(main);
  if (focused) [...main.querySelectorAll("a, button")].find((one) => nameOf(one) === focused)?.focus();
  return true;
};

const SOUND_EVERY_MS = 2000;

// An alarm that nobody saw sounds until somebody says so; who waits for an answer is told once. Browsers let a page be heard
// once somebody touched it, or where they were started so (Chromium: --autoplay-policy=no-user-gesture-required).
const sound = (main) => {
  const silent = document.getElementById("silent");
  if (!silent || !window.AudioContext) return;
  const audio = new AudioContext();
  const tone = (hertz, from, seconds) => {
    const [source, volume] = [audio.createOscillator(), audio.createGain()];
    source.frequency.value = hertz;
    volume.gain.value = 0.4;
    source.connect(volume).connect(audio.destination);
    source.start(audio.currentTime + from);
    source.stop(audio.currentTime + from + seconds);
  };
  const waiting = () => new Set([...main.querySelectorAll(".waiting > a")].map((link) => link.pathname));
  let known = waiting();
  let rings = 0;
  for (const name of ["pointerdown", "keydown", "click"]) addEventListener(name, () => audio.resume());
  setInterval(() => {
    const silent = document.getElementById("silent");
    if (silent) silent.hidden = audio.state === "running";
    const now = waiting();
    const isNew = [...now].some((one) => !known.has(one));
    known = now;
    if (audio.state !== "running") return;
    if (main.querySelector("[data-sounding]")) {
      tone(880, 0, 0.3);
      tone(660, 0.35, 0.3);
    } else if (isNew) {
      tone(660, 0, 0.5);
    } else {
      return;
    }
    rings += 1;
    document.documentElement.dataset.rings = rings;
  }, SOUND_EVERY_MS);
};

const SILENT_MS = 5000;

const AGAIN_MS = 2000;

// Events from the gate, as long as the page is seen: a browser has six connections to a gate, for all its windows. Whoever
// hears nothing for too long is told so.
// What it gives turns to another path: the one before goes once that one has answered, so that nobody is gone in between.
const listen = (path, on) => {
  const lost = document.getElementById("lost");
  let source = null;
  let last = Date.now();
  let isOver = false;
  const heard = () => {
    last = Date.now();
    lost.hidden = true;
  };
  // The one before, until the next has answered.
  let former = null;
  const leave = () => {
    former?.close();
    former = null;
  };
  const open = () => {
    if (source !== null || document.hidden || isOver) return;
    const mine = new EventSource(path);
    source = mine;
    mine.addEventListener("open", leave);
    for (const [name, act] of Object.entries(on)) {
      mine.addEventListener(name, (event) => {
        if (mine !== source && mine !== former) return;
        act(event, heard, () => {
          isOver = true;
          source?.close();
          leave();
        });
      });
    }
    mine.addEventListener("error", () => {
      if (mine !== source) return;
      leave();
      if (mine.readyState !== EventSource.CLOSED) return;
      source = null;
      // Signed out, perhaps: then the page itself leads on.
      on.closed?.();
      setTimeout(open, AGAIN_MS);
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
      leave();
    } else {
      last = Date.now();
      open();
    }
  });
  open();
  setInterval(() => { lost.hidden = isOver || document.hidden || Date.now() - last < SILENT_MS; }, 500);
  return (other) => {
    leave();
    former = source;
    path = other;
    source = null;
    open();
  };
};

const UNSEEN_EVERY_MS = 5000;

const follow = (main) => {
  const title = document.title;
  let state = null;
  let isAsking = false;
  const renew = async (heard) => {
    if (isAsking) return;
    isAsking = true;
    const before = awaited(main);
    if (await refresh().catch(() => false)) heard();
    if (document.hidden && awaited(main) < before) tellElsewhere(main);
    isAsking = false;
  };
  // Whoever waits looks elsewhere meanwhile. Events would hold one of the browser's few connections for each such page.
  setInterval(() => { if (document.hidden && awaited(main) > 0) renew(() => {}); }, UNSEEN_EVERY_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) document.title = title; });
  listen("/events", {
    beat: (event, heard) => {
      const isNew = main.dataset.live === "always" || (state !== null && state !== event.data);
      state = event.data;
      if (isNew) renew(heard); else heard();
    },
    closed: () => renew(() => {}),
  });
};

const clockOf = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

// How much longer one's word counts that one is there, and who else is.
const escorting = () => {
  const mine = document.getElementById("mine");
  const there = document.getElementById("there");
  const tap = document.getElementById("tap");
  let until = null;
  let warn = 0;
  let was = false;
  const count = () => {
    const left = until === null ? 0 : Math.max(0, Math.ceil((until - Date.now()) / 1000));
    was = was || left > 0;
    const words = left > 0 ? `You count as there for ${clockOf(left)} more.` : was ? WORDS.noLonger : WORDS.notThere;
    if (mine.textContent !== words) mine.textContent = words;
    tap.classList.toggle("urgent", left <= warn);
    // Said aloud once when it is time, and not each second.
    mine.setAttribute("aria-live", left === warn || left === 0 ? "assertive" : "off");
  };
  if (mine) setInterval(count, 250);
  return (escort) => {
    if (!mine || !escort) return;
    until = escort.yours_seconds === null ? null : Date.now() + escort.yours_seconds * 1000;
    warn = escort.warn_seconds;
    there.textContent = escort.there.join(", ") || WORDS.nobody;
    count();
  };
};

// Which of several screens over VNC is shown: a button for each that is open.
const choosing = (chosen, choose) => {
  const box = document.getElementById("screens");
  let shown = "";
  const button = (which, words) => {
    const made = Object.assign(document.createElement("button"), { type: "button", className: "big", textContent: words });
    made.dataset.screen = which ?? "";
    made.addEventListener("click", () => {
      chosen = which;
      mark();
      choose(which);
    });
    return made;
  };
  const mark = () => {
    for (const one of box.children) one.setAttribute("aria-pressed", String(one.dataset.screen === String(chosen ?? "")));
  };
  return {
    which: () => chosen,
    offer: (open) => {
      box.hidden = open.length < 2 && chosen === null;
      const is = JSON.stringify(open);
      if (is === shown) return;
      shown = is;
      const focused = document.activeElement?.dataset?.screen;
      box.replaceChildren(button(null, WORDS.newest), ...open.map((one) => button(one.connection, WORDS.screen(one))));
      mark();
      if (focused !== undefined) [...box.children].find((one) => one.dataset.screen === focused)?.focus();
    },
  };
};

// A screen over VNC, drawn part by part, in the order in which they came.
const painting = (choice) => {
  const canvas = document.getElementById("picture");
  const note = document.getElementById("pictured");
  const context = canvas.getContext("2d", { alpha: false });
  let standing = "";
  let painted = "";
  let drawn = Promise.resolve();
  const say = (words) => {
    note.hidden = words === "";
    if (note.textContent !== words) note.textContent = words;
  };
  const then = (act) => { drawn = drawn.then(act).catch((error) => say(WORDS.lostPicture(error.message))); };
  return {
    vnc: ({ screen }) => then(() => {
      canvas.classList.toggle("past", screen === null);
      if (screen === null) {
        standing = canvas.hidden ? "" : WORDS.noScreen;
      } else {
        const { connection, open, width, height, lost } = screen;
        const chosen = choice.which();
        choice.offer(open);
        standing = lost !== null ? WORDS.lostPicture(lost)
          : chosen !== null && chosen !== connection ? WORDS.closed(chosen)
          : chosen !== null && open.length > 1 ? WORDS.chosenOf(connection, open.length)
          : open.length > 1 ? WORDS.newestOf(open.length) : "";
        canvas.hidden = lost !== null || width * height === 0;
        // What is given from now on is drawn over what was, unless it is another picture.
        const which = `${connection} ${width} ${height}`;
        if (which !== painted) [canvas.width, canvas.height] = [width, height];
        painted = which;
      }
      say(standing);
    }),
    picture: ({ x, y, data, skipped }) => then(async () => {
      const part = await createImageBitmap(new Blob([bytes(data)], { type: "image/png" }));
      context.drawImage(part, x, y);
      part.close();
      say(skipped ? WORDS.skipped : standing);
    }),
    over: () => then(() => canvas.classList.add("past")),
  };
};

const watch = (screen) => {
  const said = document.getElementById("watched");
  const stopped = document.getElementById("stopped");
  const escort = escorting();
  const stands = ({ stopped: why, escort: who }) => {
    stopped.hidden = why === null;
    stopped.textContent = WORDS.stopped[why] ?? why ?? "";
    document.querySelector("form[action$='/freeze']").hidden = why === "by-operator";
    document.querySelector("form[action$='/thaw']").hidden = why !== "by-operator";
    escort(who);
  };
  const draw = ({ lines, has_terminal: isThere }) => {
    screen.hidden = isThere === false;
    screen.textContent = lines.join("\n");
  };
  const list = document.getElementById("happened");
  const log = document.getElementById("log");
  const happened = ({ lines }) => {
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    list.replaceChildren(...lines.map(({ at, words, refused }) =>
      Object.assign(document.createElement("li"), { textContent: `${at} ${words}`, className: refused ? "refused" : "" })));
    document.getElementById("passing").hidden = lines.length === 0;
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  };
  const pathOf = (which) => screen.dataset.watch + (which === null ? "" : `?screen=${which}`);
  const chosen = screen.dataset.screen === undefined ? null : Number(screen.dataset.screen);
  const choice = choosing(chosen, (which) => turn(pathOf(which)));
  const painter = painting(choice);
  const turn = listen(pathOf(chosen), {
    vnc: (event, heard) => {
      heard();
      said.textContent = "";
      painter.vnc(JSON.parse(event.data));
    },
    picture: (event, heard) => {
      heard();
      painter.picture(JSON.parse(event.data));
    },
    happened: (event, heard) => {
      heard();
      said.textContent = "";
      happened(JSON.parse(event.data));
    },
    standing: (event, heard) => {
      heard();
      said.textContent = "";
      stands(JSON.parse(event.data));
    },
    screen: (event, heard) => {
      heard();
      said.textContent = "";
      draw(JSON.parse(event.data));
    },
    still: (_, heard) => heard(),
    over: (event, heard, end) => {
      heard();
      end();
      escort({ there: [], yours_seconds: null, warn_seconds: 0 });
      const over = JSON.parse(event.data);
      draw(over);
      painter.over();
      said.textContent = `Over: ${over.in_words}.`;
    },
    closed: () => {
      escort({ there: [], yours_seconds: null, warn_seconds: 0 });
      painter.over();
      said.textContent = "This cannot be watched now: it is over, or you may not, or are signed out.";
    },
  });
};

// The code of an invitation that came as a link stands behind its `#`: no browser sends that to anybody.
const code = document.getElementById("code");
if (code && "value" in code && location.hash.length > 1) {
  code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

prepare(document);
// Back from an identity provider: what it said is sent by a button, or without a touch where there is script.
document.querySelector("form[data-go-on]")?.submit();
document.querySelectorAll("pre[data-watch]").forEach(watch);
document.querySelectorAll("[data-display]").forEach(beDisplay);
if (document.querySelector("form[data-fresh=sign-in]")) leadBack();
if (document.body.classList.contains("display") && location.pathname !== "/") returnToBoard();
const main = document.querySelector("main[data-live]");
if (main) {
  follow(main);
  sound(main);
}
