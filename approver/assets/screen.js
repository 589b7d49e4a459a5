"use strict";
// A target's screen on a page: noVNC draws it and knows keys and pointer, its bytes pass by the gate, and what the gate says stands
// beside it, where no target can draw.

const SAYS = {
  mayType: "You may type and click here.",
  looksOnly: "You may only look: nothing that you type or click is sent. More actions are asked for on the page of your grant, and hold here at once.",
  notLoaded: "What draws the screen did not load. Go back to the page of your grant, and open it again.",
  undrawable: "The machine sent what cannot be drawn here, so the screen was closed. Use a viewer of your own: the page of your grant says how.",
  tooLong: (kib) => `A clipboard takes ${kib} KiB at most. Nothing was sent.`,
  hidden: "It had characters that cannot be seen, which were taken out. Look at it again, and send it.",
  foreign: (signs) => `A clipboard over VNC takes Western European letters alone, and not: ${signs}. Nothing was sent.`,
};

const CLIPBOARD_MAX = 256 * 1024;
const place = at("place");

// noVNC shows the machine's pointer as a cursor from a data: address, which the policy of this page forbids, except where fingers touch;
// there it draws it.
document.ontouchstart ??= null;

// It lets the browser load pictures from such addresses, too. These are decoded instead: a canvas that has what such a picture has.
const decode = async (picture, address) => {
  const [head, base64] = address.split(";base64,");
  const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: head.replace(/^data: */, "") }));
  [picture.width, picture.height] = [bitmap.width, bitmap.height];
  picture.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
  picture.complete = true;
  picture.dispatchEvent(new Event("load"));
};
window.Image = function () {
  const picture = createElement("canvas");
  picture.complete = false;
  // It is set to nothing once it was drawn.
  const set = (address) => address && decode(picture, address).catch(() => page?.leave(SAYS.undrawable));
  Object.defineProperty(picture, "src", { set });
  return picture;
};

let [page, viewer, granted, buttons] = [null, null, false, 0];

const channel = {
  binaryType: "arraybuffer",
  protocol: "",
  readyState: "open",
  onopen: null,
  onmessage: null,
  onerror: null,
  onclose: null,
  send: (bytes) => page.send(bytes),
  close: () => { [channel.readyState, channel.onmessage] = ["closed", null]; },
};

// Keys that are held are let go at the machine, as when the window is left.
const letGo = () => dispatchEvent(new Event("blur"));
// A button that is held is let go first: a viewer that only looks sends nothing, not even that.
const obey = () => {
  if (viewer && (granted || buttons === 0)) viewer.viewOnly = !granted;
};
for (const kind of ["mousedown", "mouseup"]) {
  addEventListener(kind, (event) => {
    buttons = event.buttons;
    setTimeout(obey);
  }, true);
}
const mayType = (may) => {
  if (!may) letGo();
  granted = may;
  obey();
  at("may").textContent = granted ? SAYS.mayType : SAYS.looksOnly;
  at("typed").hidden = !granted;
  if (!granted) at("text").close();
};

const shows = (RFB) => {
  viewer = new RFB(place, channel, { shared: true });
  viewer.viewOnly = true;
  viewer.scaleViewport = at("fit").checked;
  viewer.showDotCursor = true;
  const canvas = place.querySelector("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", place.dataset.name);
  // The pointer that is drawn is nothing to be read aloud.
  document.querySelector("body > canvas")?.setAttribute("aria-hidden", "true");
  // Why the gate lets nobody in is told by it.
  let isRefused = false;
  viewer.addEventListener("securityfailure", () => { isRefused = true; });
  viewer.addEventListener("disconnect", () => isRefused || page.leave(SAYS.undrawable));
  viewer.focus({ preventScroll: true });
};

const begin = async () => {
  const parts = ["rfb.js", "util/logging.js"].map((name) => import(`${place.dataset.viewer}${name}`));
  const [{ default: RFB }, { initLogging }] = await Promise.all(parts);
  initLogging("none");
  page = sit(place.dataset.ticket, {
    opened: () => shows(RFB),
    takes: (data) => {
      channel.onmessage?.({ data });
      page.drew(data.byteLength);
    },
    heard: { input: (said) => mayType(said.granted) },
    ends: () => {
      [granted, buttons] = [false, 0];
      obey();
      channel.close();
      place.classList.add("past");
      at("may").textContent = "";
      at("typed").hidden = true;
      at("text").close();
    },
  });
};
begin().catch(() => ended(SAYS.notLoaded));

place.addEventListener("keydown", (event) => {
  if (event.key !== "." || !event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  letGo();
  at("close").focus();
}, true);
for (const kind of ["dragover", "drop"]) place.addEventListener(kind, (event) => event.preventDefault());
at("fit").addEventListener("change", ({ target }) => {
  if (viewer) viewer.scaleViewport = target.checked;
});
at("ctrl-alt-del").addEventListener("click", () => {
  viewer.sendCtrlAltDel();
  viewer.focus();
});

// What is sent to the machine's clipboard is what stands here to be read; what the machine puts there comes to none of the browser's.
const refuse = (why) => { at("text-why").textContent = why; };
at("clipboard").addEventListener("click", () => {
  refuse("");
  at("text").showModal();
});
at("sent").addEventListener("click", () => {
  const text = at("text-typed").value;
  const foreign = [...new Set(text.replace(HIDDEN, ""))].filter((sign) => sign.codePointAt(0) > 0xff);
  if (text.length > CLIPBOARD_MAX) refuse(SAYS.tooLong(CLIPBOARD_MAX / 1024));
  else if (foreign.length > 0) refuse(SAYS.foreign(foreign.slice(0, 20).join(" ")));
  else if (text.search(HIDDEN) >= 0) {
    at("text-typed").value = text.replace(HIDDEN, "");
    refuse(SAYS.hidden);
  } else {
    viewer.clipboardPasteFrom(text);
    at("text").close();
  }
});
at("not-sent").addEventListener("click", () => at("text").close());
at("text").addEventListener("close", () => {
  if (at("text").open) return;
  at("text-typed").value = "";
  if (!page.isOver()) viewer.focus();
});
