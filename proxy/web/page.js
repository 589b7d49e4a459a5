// The page of `holdpoint play --web`. It shows a session window by window, so that its length does not matter: each window is
// the screen as it stood and what came then, already made harmless, with passwords masked. Times are nanoseconds since the
// session was opened, as they were recorded; the player's are seconds since the window's beginning, with pauses cut.
'use strict';

const $ = (id) => document.getElementById(id);
const SECOND = 1e9;
const TICKS_MAX = 400;
const ROWS_MAX = 1000;
const TYPED_CHARS_MAX = 120;
const state = { about: null, window: null, player: null, turn: 0, playing: false, dragging: false };

const spell = (nanos) => {
  const seconds = Math.max(0, Math.floor(nanos / SECOND));
  const two = (n) => String(n).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
};
const wall = (nanos) => new Date(Date.parse(state.about.opened) + nanos / 1e6).toISOString().slice(0, 19).replace('T', ' ');
const say = (words) => { $('status').textContent = words; };

async function get(what, asked = {}, signal = undefined) {
  const channel = $('channel').value;
  const query = new URLSearchParams({ ...asked, ...(channel && { channel }) });
  const answer = await fetch(`${what}?${query}`, { signal });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

// Each line of an answer that grows.
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

// The window's events on the player's clock, where a pause is at most so long; and the way back from that clock.
function timed(shown) {
  const most = Number($('idle').value) * SECOND || Infinity;
  const end = shown.next ?? Math.max(state.about.lasted, shown.from);
  const events = [[0, 'o', shown.screen]];
  const clock = [[0, shown.from]];
  let played = 0;
  let last = shown.from;
  const at = (recorded) => {
    const pause = Math.min(recorded - last, most);
    if (recorded - last > most) clock.push([(played + pause) / SECOND - 1e-6, last + pause]);
    played += pause;
    last = recorded;
    clock.push([played / SECOND, recorded]);
    return played / SECOND;
  };
  const beside = [];
  for (const [recorded, code, data] of shown.events) {
    const time = at(recorded);
    if (code === 'o') events.push([time, 'o', data]);
    else if (code === 'r') events.push([time, 'r', { cols: data[0], rows: data[1] }]);
    else beside.push({ time, code, data });
  }
  // Something must stand at the end, or the player ends with the last thing that was drawn.
  events.push([at(end), 'o', '\x1b[0m']);
  return { events, beside, clock, end };
}

function recordedAt(clock, time) {
  let low = 0;
  let high = clock.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (clock[middle][0] <= time) low = middle; else high = middle - 1;
  }
  const [[played, recorded], next] = [clock[low], clock[low + 1]];
  return next ? Math.min(recorded + (time - played) * SECOND, next[1]) : recorded;
}

const plays = (playing) => {
  state.playing = playing;
  $('play').textContent = playing ? 'Pause' : 'Play';
};

async function show(from) {
  const turn = ++state.turn;
  const begun = performance.now();
  let shown;
  try {
    shown = await (await get('window', { from: Math.round(from), from_bytes: $('from-bytes').checked })).json();
  } catch (fault) {
    if (turn === state.turn) say(`This part cannot be shown: ${fault.message}`);
    return;
  }
  if (turn !== state.turn) return;
  state.player?.dispose();
  const [cols, rows] = shown.size;
  const time = timed(shown);
  // A parser of one's own gives milliseconds.
  const recording = { cols, rows, events: time.events.map(([at, code, data]) => [at * 1000, code, data]) };
  state.window = { ...shown, ...time };
  state.player = AsciinemaPlayer.create({ data: () => recording, parser: (data) => data }, $('terminal'), {
    cols, rows, controls: false, fit: 'both', preload: true, speed: Number($('speed').value),
  });
  state.player.addEventListener('ended', () => turn === state.turn && ended());
  // It has keys of its own.
  state.player.addEventListener('play', () => turn === state.turn && plays(true));
  state.player.addEventListener('pause', () => turn === state.turn && plays(false));
  // Shows the screen that the window begins with, which a player that waits to be started does not.
  await state.player.seek(0);
  if (turn !== state.turn) return;
  if (state.playing) state.player.play();
  const blank = shown.channel === null ? 'Nothing here has a screen: what was done is listed beside.' : '';
  say(shown.keyframe === null ? blank : `Begun at the screen that the gate had noted after ${spell(shown.keyframe)}.`);
  document.body.dataset.shown = `${shown.from}`;
  document.body.dataset.took = `${Math.round(performance.now() - begun)}`;
  tick();
}

function ended() {
  if (state.window.next !== null && state.playing) {
    show(state.window.next);
    return;
  }
  plays(false);
  tick();
}

function now() {
  return state.player ? recordedAt(state.window.clock, state.player.getCurrentTime()) : 0;
}

// The slider, the clock, and what was typed and done up to now.
function tick() {
  if (!state.player) return;
  const time = state.player.getCurrentTime();
  const at = now();
  if (!state.dragging) $('place').value = at;
  $('clock').textContent = `${spell(at)} / ${spell(state.about.lasted)}  ${wall(at)} UTC`;
  const until = state.window.beside.filter((event) => event.time <= time);
  const of = (code) => until.filter((event) => event.code === code).map((event) => event.data);
  $('typed').textContent = of('i').join('').slice(-TYPED_CHARS_MAX);
  $('gate').textContent = of('g').at(-1) ?? '';
}

function pauseOrPlay() {
  if (!state.player) return;
  const atEnd = !state.playing && now() >= state.about.lasted;
  plays(!state.playing);
  // Where a window is on its way, it is played, or not, when it is there.
  if (atEnd) show(0);
  else if (state.playing) state.player.play();
  else state.player.pause();
}

const goTo = (at) => show(Math.min(Math.max(at, 0), state.about.lasted));

function row(list, at, words, kind = '') {
  if (list.children.length >= ROWS_MAX) return;
  const button = document.createElement('button');
  const [when, what] = [document.createElement('span'), document.createElement('span')];
  when.textContent = spell(at);
  what.textContent = words;
  what.className = kind;
  button.append(when, what);
  button.addEventListener('click', () => goTo(at));
  const item = document.createElement('li');
  item.append(button);
  list.append(item);
}

function mark({ at, kind, words, channel }) {
  row($('marks'), at, words, kind);
  if ($('ticks').children.length < TICKS_MAX) {
    const tick = document.createElement('i');
    tick.className = kind;
    tick.style.left = `${100 * at / Math.max(state.about.lasted, 1)}%`;
    $('ticks').append(tick);
  }
  if (channel !== undefined) $('channel').append(new Option(`${channel}: ${words}`, channel));
}

const WAYS = { 'from-target': 'from the target', 'to-target': 'to the target', 'at-target': 'at the target' };

// One line of the file ledger; its time is gone to.
function file({ at, direction, file: { operation, path, to, bytes, sha256, allowed, outcome } }) {
  const rows = $('files');
  $('ledger-count').textContent = `(${rows.children.length + 1})`;
  if (rows.children.length >= ROWS_MAX) {
    $('ledger-count').textContent = `(the first ${ROWS_MAX})`;
    return;
  }
  const cell = (words) => {
    const one = document.createElement('td');
    one.textContent = words;
    return one;
  };
  const when = document.createElement('td');
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = spell(at);
  button.addEventListener('click', () => goTo(at));
  when.append(button);
  const row = document.createElement('tr');
  row.className = allowed ? '' : 'refused';
  row.append(when, cell(to ? `${path} → ${to}` : path), cell(`${operation}, ${WAYS[direction]}`), cell(bytes),
    cell(sha256 ?? 'not known: not the whole file passed'), cell(allowed ? `allowed, ${outcome}` : 'REFUSED'));
  rows.append(row);
  rows.closest('table').hidden = false;
}

async function marks() {
  for await (const line of linesOf(await get('marks'))) {
    if (line.fault) say(`What happened cannot be read on: ${line.fault}`);
    else if (line.file) file(line);
    else mark(line);
  }
  if (!$('files').children.length) $('ledger-count').textContent = '(none passed by SFTP or scp)';
  document.body.dataset.marked = 'all';
}

const VERDICTS = { whole: 'WHOLE', open: 'OPEN', restored: 'RESTORED', 'not-witnessed': 'NOT WITNESSED', part: 'WHOLE AS FAR AS IT GOES',
  'not-whole': 'NOT WHOLE' };

// What `holdpoint verify` says of the folder, which is checked meanwhile.
async function verdict() {
  const said = await (await fetch('verdict')).json();
  const items = (texts) => texts.filter(Boolean).map((text) => {
    const item = document.createElement('li');
    item.textContent = text;
    return item;
  });
  const tell = (word, words, more = [], all = []) => {
    $('verdict-word').textContent = word;
    $('verdict-words').textContent = words;
    $('verdict-more').replaceChildren(...items(more));
    $('verdict-all').replaceChildren(...items(all));
    $('verdict-all').parentElement.hidden = !all.length;
  };
  if (said.verdict) {
    $('verdict').className = said.verdict === 'not-whole' ? 'wrong' : 'right';
    const own = said.session ? `This recording: ${said.session.words}.` : 'This recording is not among those that were checked.';
    // Of each log, the longest that nobody but the gate remembered an entry.
    const longest = said.remembrance.map((text) => {
      const [first, ...more] = text.split('\n');
      const line = more.find((one) => one.includes('the longest'));
      return line && `${first.split(': ')[0]}: ${line.trim()}`;
    });
    tell(`${VERDICTS[said.verdict]}. ${own}`, said.words, [said.own ?? said.wrong, ...longest], said.remembrance);
  } else if (said.not) {
    $('verdict').className = 'wrong';
    tell('NOT CHECKED', said.not);
  } else {
    const part = said.total ? ` ${Math.floor(100 * said.read / said.total)} %` : '';
    tell(`being checked…${part}`, '');
    setTimeout(() => verdict().catch(gone), 500);
    return;
  }
  document.body.dataset.checked = said.verdict ?? 'not';
}
const gone = () => { $('verdict-word').textContent = 'NOT CHECKED: holdpoint play has gone'; };

// A time of day, on the first day of the session on which it ran then.
function goToTime(event) {
  event.preventDefault();
  const DAY = 86400 * SECOND;
  const opened = Date.parse(state.about.opened);
  const midnight = Math.floor(opened / 86400000) * 86400000;
  const [hours, minutes, seconds = 0] = $('time').value.split(':').map(Number);
  let at = (midnight + ((hours * 60 + minutes) * 60 + seconds) * 1000 - opened) * 1e6;
  if (at <= -SECOND) at += DAY;
  if (at > state.about.lasted) {
    say(`The session did not run at ${$('time').value} UTC: it ran from ${wall(0)} to ${wall(state.about.lasted)}.`);
    return;
  }
  goTo(at);
}

let searching = null;
async function search(event) {
  event.preventDefault();
  searching?.abort();
  const mine = searching = new AbortController();
  $('hits').replaceChildren();
  $('found').textContent = 'looking…';
  let hits = 0;
  try {
    for await (const line of linesOf(await get('search', { text: $('text').value }, mine.signal))) {
      if (line.fault) throw new Error(line.fault);
      row($('hits'), line.at, line.line);
      hits += 1;
      $('found').textContent = `looking… ${hits} lines`;
      if (hits >= ROWS_MAX) mine.abort();
    }
    $('found').textContent = hits ? `${hits} lines` : 'It stood nowhere on the screen.';
  } catch (fault) {
    if (searching !== mine) return;
    $('found').textContent = hits >= ROWS_MAX ? `The first ${hits} lines` : `The search stopped: ${fault.message}`;
  }
}

async function begin() {
  state.about = await (await get('about')).json();
  const { session, target, service, technician, opened, lasted, ending } = state.about;
  document.title = `Holdpoint: ${session}`;
  $('session').textContent = session;
  $('about').textContent = `${technician} at ${target} (${service}), opened ${opened.slice(0, 19).replace('T', ' ')} UTC, `
    + `lasted ${spell(lasted)}, ${ending ? `ended: ${ending}` : 'no ending stands here: it ran when this was copied, or was cut off'}`;
  $('place').max = lasted;
  $('play').addEventListener('click', pauseOrPlay);
  $('back').addEventListener('click', () => goTo(now() - 10 * SECOND));
  $('on').addEventListener('click', () => goTo(now() + 10 * SECOND));
  $('place').addEventListener('input', () => { state.dragging = true; });
  $('place').addEventListener('change', () => { state.dragging = false; goTo(Number($('place').value)); });
  for (const id of ['speed', 'idle', 'from-bytes']) $(id).addEventListener('change', () => goTo(now()));
  $('channel').addEventListener('change', () => goTo(now()));
  $('search').addEventListener('submit', search);
  $('go').addEventListener('submit', goToTime);
  verdict().catch(gone);
  document.addEventListener('keydown', (event) => {
    if (event.target.matches('input, select, button, textarea')) return;
    const act = { ' ': pauseOrPlay, ArrowLeft: () => goTo(now() - 10 * SECOND), ArrowRight: () => goTo(now() + 10 * SECOND),
      '/': () => $('text').focus() }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  setInterval(tick, 100);
  await show(0);
  await marks();
}

begin().catch((fault) => say(`The recording cannot be shown: ${fault.message}`));
