"use strict";
// What pages cannot do without script: passkeys, what changes by itself, and a button that has to be held.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const WORDS = {
  none: "This browser knows no passkeys, or does not trust this page's certificate. The administrator's guide says how it comes to.",
  NotAllowedError: "The passkey gave no answer: it was not touched in time, was refused, or this is not where it was made. Try again.",
  InvalidStateError: "This key is enrolled here already. Use another one.",
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

const prepare = (root) => {
  for (const form of root.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", (event) => withPasskey(form, event));
  }
  root.querySelectorAll("button[data-hold]").forEach(held);
};

let isPressed = false;
addEventListener("pointerdown", () => { isPressed = true; }, true);
for (const name of ["click", "pointercancel"]) addEventListener(name, () => { isPressed = false; }, true);
addEventListener("pointerup", () => setTimeout(() => { isPressed = false; }), true);

// A page in which somebody types, or presses a button, stays as it is.
const isInUse = (main) => isPressed || main.querySelector("details[open]") !== null
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

const SILENT_MS = 5000;

const AGAIN_MS = 2000;

// Events from the gate, as long as the page is seen: a browser has six connections to a gate, for all its windows. Whoever
// hears nothing for too long is told so.
const listen = (path, on) => {
  const lost = document.getElementById("lost");
  let source = null;
  let last = Date.now();
  let isOver = false;
  const heard = () => {
    last = Date.now();
    lost.hidden = true;
  };
  const open = () => {
    if (source !== null || document.hidden || isOver) return;
    source = new EventSource(path);
    for (const [name, act] of Object.entries(on)) {
      source.addEventListener(name, (event) => act(event, heard, () => { isOver = true; source.close(); }));
    }
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
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
    } else {
      last = Date.now();
      open();
    }
  });
  open();
  setInterval(() => { lost.hidden = isOver || document.hidden || Date.now() - last < SILENT_MS; }, 500);
};

const follow = (main) => {
  let state = null;
  let isAsking = false;
  const renew = async (heard) => {
    if (isAsking) return;
    isAsking = true;
    if (await refresh().catch(() => false)) heard();
    isAsking = false;
  };
  listen("/events", {
    beat: (event, heard) => {
      const isNew = main.dataset.live === "always" || (state !== null && state !== event.data);
      state = event.data;
      if (isNew) renew(heard); else heard();
    },
    closed: () => renew(() => {}),
  });
};

const watch = (screen) => {
  const said = document.getElementById("watched");
  const draw = ({ lines }) => { screen.textContent = lines.join("\n"); };
  listen(screen.dataset.watch, {
    screen: (event, heard) => {
      heard();
      said.textContent = "";
      draw(JSON.parse(event.data));
    },
    still: (_, heard) => heard(),
    over: (event, heard, end) => {
      heard();
      end();
      const over = JSON.parse(event.data);
      draw(over);
      said.textContent = `Over: ${over.in_words}.`;
    },
    closed: () => { said.textContent = "This cannot be watched now: it is over, or you may not, or are signed out."; },
  });
};

prepare(document);
document.querySelectorAll("pre[data-watch]").forEach(watch);
const main = document.querySelector("main[data-live]");
if (main) follow(main);
