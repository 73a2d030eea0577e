"use strict";
// Draws what /events says: the node's status as `ftgw status --json` prints it. Text from the node
// only ever becomes text nodes and attributes.

const byId = id => document.getElementById(id);

function make(parent, name, attributes = {}, text) {
  const svg = parent.namespaceURI === "http://www.w3.org/2000/svg" || name === "svg";
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

const group = n => Math.round(n).toLocaleString("en");
const plural = (n, what) => `${group(n)} ${what}${n === 1 ? "" : "s"}`;
const fixed = (n, unit) => `${n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)} ${unit}`;
function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) if ((bytes /= 1024) < 1024 || unit === "TiB") return fixed(bytes, unit);
}
const duration = us => us < 1000 ? `${group(us)} µs` : us < 1e6 ? fixed(us / 1000, "ms") : fixed(us / 1e6, "s");
function ago(seconds) {
  for (const [length, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    const n = Math.floor(seconds / length);
    if (n > 0) return `${n} ${unit}${n > 1 ? "s" : ""}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

// What a service is at this moment, in a word, and how good that is.
function verdict(v) {
  switch (v.role) {
    case "witness": return ["witness", "calm"];
    case "fenced": return ["fenced", "bad"];
    case "joining": return ["joining", "warn"];
    case "sole": return ["not protected", "warn"];
  }
  return v.in_sync ? ["protected", "good"] : ["peer unreachable", "warn"];
}

// The role of another node, as far as this one can know it.
function roleOf(v, name, peer) {
  if (v.role === "witness") return peer && peer.state === "alive" ? ["connected", "good"] : ["not connected", "bad"];
  if (name !== v.peer) return peer && peer.state === "alive" ? ["spare", "calm"] : ["spare, down", "bad"];
  if (v.role === "primary") return ["backup", "good"];
  if (v.role === "backup") return ["primary", "good"];
  if (peer && peer.state !== "alive") return [peer.state, "bad"];
  return v.role === "sole" ? ["not in the pair", "warn"] : v.owner === name ? ["serves", "good"] : ["alive", "calm"];
}

function box(svg, at, kind, name, small, role) {
  const g = make(svg, "g", {class: `node ${kind}`});
  make(g, "rect", {x: at.x, y: at.y, width: at.w, height: at.h, rx: 9});
  let y = at.y + 23;
  make(g, "text", {x: at.x + 13, y, class: "name"}, name);
  for (const line of small) make(g, "text", {x: at.x + 13, y: y += 18, class: "small"}, line);
  for (const [i, [text, grade]] of (role || []).entries())
    make(g, "text", i === 0
      ? {x: at.x + at.w - 13, y: at.y + 23, "text-anchor": "end", class: `role is-${grade}`}
      : {x: at.x + 13, y: y += 18, class: `role is-${grade}`}, text);
}

function edge(svg, d, kind, label, at, anchor = "middle") {
  make(svg, "path", {d, class: `edge ${kind}`});
  if (label) make(svg, "text", {x: at[0], y: at[1], "text-anchor": anchor, class: "label"}, label);
}

function arrow(svg, x, y, down) {
  make(svg, "path", {class: "arrow", d: down ? `M${x - 5} ${y - 9}h10l-5 9z` : `M${x - 9} ${y - 5}v10l9 -5z`});
}

// The picture: clients, the address, the hosts with their roles, the session between them, the
// witness. Beside each other where there is room, else below each other.
function topology(stage, s, v) {
  const width = Math.max(280, stage.clientWidth), wide = width >= 620;
  const peers = new Map(s.peers.map(p => [p.name, p]));
  const witness = v.role === "witness" ? {name: s.node, address: s.address, state: "alive"} : s.peers.find(p => p.witness);
  const n = v.nodes.length, high = 94, gap = wide ? 46 : 52;
  const hostW = wide ? Math.min(300, width * .4) : width - 18;
  const left = wide ? width - hostW - 18 : 0, top = wide ? 4 : 190;
  const bottom = top + n * high + (n - 1) * gap;
  const middle = wide ? (top + bottom) / 2 : 0;
  const all = witness ? bottom + 34 + 54 : bottom;
  const clients = wide ? {x: 0, y: middle - 36, w: 152, h: 72} : {x: width / 2 - 90, y: 4, w: 180, h: 58};
  const address = wide ? {x: clients.w + (left - clients.w) * .5 - 85, y: middle - 27, w: 170, h: 54}
    : {x: width / 2 - 90, y: 94, w: 180, h: 54};

  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${all + 3}`);
  svg.setAttribute("role", "img");
  const flows = v.flows.duplex + v.flows.simplex;
  svg.setAttribute("aria-label", `${v.name}: ${plural(flows, "connection")} to ${v.advertised}, answered by ${v.owner || "nobody"}; ` +
    `this node, ${s.node}, is ${v.role}; its peer is ${v.peer || "none"}, ${v.in_sync ? "in sync" : "not in sync"}`);

  const hosts = v.nodes.map((name, i) => ({name, x: left, y: top + i * (high + gap), w: hostW, h: high}));
  const busy = v.exchanges.running > 0 || flows > 0;
  const served = v.owner !== "";
  if (wide) {
    edge(svg, `M${clients.w} ${middle}H${address.x}`, served ? `on${busy ? " flowing" : ""}` : v.role === "witness" ? "" : "bad");
    if (served) arrow(svg, address.x, middle);
  } else {
    edge(svg, `M${width / 2} ${clients.y + clients.h}V${address.y}`, served ? `on${busy ? " flowing" : ""}` : v.role === "witness" ? "" : "bad");
    if (served) arrow(svg, width / 2, address.y, true);
  }
  for (const h of hosts) {
    if (h.name !== v.owner) continue;
    if (wide) {
      const from = address.x + address.w, y = h.y + h.h / 2, bend = (from + left) / 2;
      edge(svg, `M${from} ${middle}C${bend} ${middle} ${bend} ${y} ${left} ${y}`, `on${busy ? " flowing" : ""}`);
      arrow(svg, left, y);
    } else if (h === hosts[0]) {
      edge(svg, `M${width / 2} ${address.y + address.h}V${h.y}`, `on${busy ? " flowing" : ""}`);
      arrow(svg, width / 2, h.y, true);
    } else { // past the hosts above it
      const x = hostW + 9;
      edge(svg, `M${width / 2} ${address.y + address.h}V${top - 18}H${x}V${h.y + h.h / 2}H${hostW}`, `on${busy ? " flowing" : ""}`);
    }
  }
  for (let i = 1; i < n; i++) {
    const a = hosts[i - 1], b = hosts[i], other = a.name === s.node ? b.name : b.name === s.node ? a.name : "";
    if (!other) continue;
    const p = peers.get(other), pair = other === v.peer && v.in_sync, x = left + (wide ? 30 : 36);
    const text = pair ? `in sync${p && p.rtt_us ? `, ${duration(p.rtt_us)}` : ""}` : p && p.state === "alive" ? "session, not in sync" : "no session";
    edge(svg, `M${x} ${a.y + a.h}V${b.y}`, pair ? "good" : p && p.state === "alive" ? "warn" : "bad", text, [x + 14, a.y + a.h + gap / 2 + 4], "start");
  }
  if (witness) {
    const w = {x: left, y: bottom + 34, w: hostW, h: 54};
    const voters = v.role === "witness" ? hosts.map(h => [h, (peers.get(h.name) || {}).state]) : hosts.filter(h => h.name === s.node).map(h => [h, witness.state]);
    for (const [h, state] of voters) {
      const right = left + hostW, x = right + 12;
      edge(svg, h === hosts[n - 1] ? `M${right - 30} ${h.y + h.h}V${w.y}` : `M${right} ${h.y + h.h / 2 + 14}H${x}V${w.y + 27}H${right}`,
        `vote ${state === "alive" ? "good" : "bad"}`);
    }
    box(svg, w, witness.name === s.node ? "self" : witness.state === "alive" ? "" : "gone", witness.name, [`${witness.address}`],
      [["witness", witness.state === "alive" ? "good" : "bad"]]);
  }
  box(svg, clients, "", "clients", v.role === "witness" ? [] : [plural(flows, "connection")].concat(wide && v.flows.simplex ? [`${group(v.flows.simplex)} simplex`] : []));
  box(svg, address, "address", v.name, [v.advertised]);
  for (const h of hosts) {
    const self = h.name === s.node, p = peers.get(h.name);
    const [role, grade] = self ? [v.role, verdict(v)[1]] : roleOf(v, h.name, p);
    const lines = [self ? `${s.address}, this node` : p ? p.address : ""];
    const more = [];
    const part = {primary: "executes the requests", backup: "stores the replies"}[role];
    if (!self && part) lines.push(part);
    if (h.name === v.owner) more.push(["answers for the address", "calm"]);
    if (self) more.push([`web server ${v.upstream}`, v.upstream === "healthy" ? "good" : v.upstream === "unhealthy" ? "bad" : "warn"]);
    box(svg, h, self ? "self" : p && p.state === "dead" ? "gone" : "", h.name, lines, [[role, grade]].concat(more.slice(0, 2)));
  }
  stage.replaceChildren(svg);
}

const samples = new Map(); // of each service: what its tile of exchanges was drawn from
const ended = x => x.delivered + x.replayed + x.moved + x.unprotected + x.failed;

function rates(s, v) {
  let h = samples.get(v.name);
  if (!h) samples.set(v.name, h = {points: []});
  const at = Date.parse(s.at) / 1000, now = {at, done: ended(v.exchanges), stored: v.replication.stored_records,
    bytes: v.replication.stored_bytes, took: v.replication.store_time_us};
  if (h.last && at > h.last.at && now.done >= h.last.done && s.started === h.started) {
    const seconds = at - h.last.at, stored = now.stored - h.last.stored;
    h.points.push((now.done - h.last.done) / seconds);
    if (h.points.length > 90) h.points.shift();
    h.bytes = (now.bytes - h.last.bytes) / seconds;
    if (stored > 0) h.store = (now.took - h.last.took) / stored;
  }
  h.last = now;
  h.started = s.started;
  return h;
}

function tile(parent, title, big, unit) {
  const t = make(parent, "div", {class: "tile"});
  make(t, "h3", {}, title);
  const p = make(t, "p", {class: "big"}, big);
  if (unit) make(p, "small", {}, ` ${unit}`);
  return t;
}

function spark(parent, points) {
  const svg = make(parent, "svg", {class: "spark", viewBox: "0 0 90 30", preserveAspectRatio: "none", "aria-hidden": "true"});
  const most = Math.max(1, ...points);
  const line = points.map((p, i) => `${i ? "L" : "M"}${90 - points.length + 1 + i} ${29 - 27 * p / most}`).join("");
  if (points.length < 2) return;
  make(svg, "path", {class: "area", d: `${line}L90 30L${91 - points.length} 30z`});
  make(svg, "path", {d: line});
}

function tiles(parent, s, v) {
  const h = rates(s, v), f = v.flows, x = v.exchanges, r = v.replication, d = v.if_peer_died_now;
  let t = tile(parent, "Connections", group(f.duplex + f.simplex));
  make(t, "p", {}, `${group(f.duplex)} duplex, ${group(f.simplex)} simplex` + (f.unprotected ? ` (${group(f.unprotected)} by their route)` : ""));
  if (f.relayed) make(t, "p", {}, `${group(f.relayed)} that only the peer holds`);
  t = tile(parent, "Exchanges here", h.points.length ? group(h.points.at(-1)) : "–", "per second");
  make(t, "p", {}, `${group(x.delivered)} delivered, ${group(x.replayed)} replayed, ${group(x.reexecuted)} re-executed, ${group(x.failed)} failed`);
  spark(t, h.points);
  t = tile(parent, "Replication lag", r.unstored_records ? duration(r.lag_us) : h.store !== undefined ? duration(h.store) : "–", r.unstored_records ? "the oldest waits" : "to store");
  make(t, "p", {}, `${plural(r.unstored_records, "record")}, ${size(r.unstored_bytes)} not stored yet`);
  make(t, "p", {}, `${size(Math.round(h.bytes || 0))} per second to the peer`);
  if (v.role === "sole") {
    t = tile(parent, "Protected now", "0", `of ${group(f.duplex + f.simplex)} connections`);
    make(t, "p", {}, "This host is alone: they end if it dies.");
  } else if (v.role === "primary" || v.role === "backup") {
    const sum = d.survive + d.lost;
    t = tile(parent, `If ${v.peer || "the peer"} died now`, group(d.survive), `of ${group(sum)} survive`);
    if (sum) {
      const bar = make(t, "div", {class: "bar", "aria-hidden": "true"});
      make(bar, "i").style.flexGrow = d.survive;
      make(bar, "i").style.flexGrow = d.lost;
    }
    make(t, "p", {}, `${plural(d.lost, "connection")} lost, ${plural(d.reexecute, "request")} executed again`);
  }
}

function takeovers(parent, s, v) {
  make(parent, "h3", {}, "Takeovers by this node");
  const list = v.takeovers || [];
  if (!list.length) {
    make(parent, "p", {class: "quiet"}, "None since it was started.");
    return;
  }
  const ends = list.map(t => t.steps && t.steps.length ? t.steps.at(-1).at_ms : 0);
  const most = Math.max(...ends, .001), ol = make(parent, "ol");
  for (let i = list.length - 1; i >= 0 && i >= list.length - 8; i--) {
    const t = list[i], li = make(ol, "li", {class: "takeover"}), what = make(li, "div");
    make(what, "div", {class: "reason"}, t.reason);
    make(make(what, "div", {class: "when"}), "time", {datetime: t.at}, `${new Date(t.at).toLocaleTimeString("en-GB")}, ${ago((Date.parse(s.at) - Date.parse(t.at)) / 1000)} ago, epoch ${t.epoch}`);
    const right = make(li, "div");
    const svg = make(right, "svg", {class: "track", "aria-hidden": "true", viewBox: "0 0 600 18", preserveAspectRatio: "xMinYMid meet"});
    const x = ms => 8 + 560 * ms / most;
    make(svg, "line", {x1: 8, y1: 9, x2: 568, y2: 9});
    make(svg, "line", {class: "run", x1: 8, y1: 9, x2: x(ends[i]), y2: 9});
    const steps = make(right, "ol", {class: "steps"});
    for (const [k, step] of (t.steps || []).entries()) {
      make(svg, "circle", {cx: x(step.at_ms), cy: 9, r: 5, class: k === t.steps.length - 1 ? "last" : ""});
      const item = make(steps, "li", {}, `${step.name} `);
      make(item, "span", {class: "number"}, `${step.at_ms.toFixed(2)} ms`);
    }
  }
}

function service(s, v) {
  const id = `service-${v.name}`;
  const card = byId(id) || make(byId("services"), "section", {id, "aria-label": `Service ${v.name}`});
  const part = name => card.querySelector(`:scope > .${name}`) || make(card, "div", {class: name});
  const head = part("head"), [word, grade] = verdict(v);
  head.replaceChildren();
  make(head, "h2", {}, v.name);
  make(head, "code", {}, v.advertised);
  make(head, "span", {class: `chip ${grade}`}, word);
  make(head, "span", {class: "chip"}, `epoch ${v.epoch}`);
  if (v.role !== "witness") make(head, "span", {class: "chip"}, `${v.mode} for new connections`);
  const why = part("why");
  why.textContent = v.why || "";
  why.hidden = !v.why;
  const stage = part("stage");
  topology(stage, s, v);
  const grid = part("tiles"), past = part("past");
  grid.replaceChildren();
  past.replaceChildren();
  grid.hidden = past.hidden = v.role === "witness";
  if (v.role === "witness") return;
  tiles(grid, s, v);
  takeovers(past, s, v);
}

let last;

// changes tells what has become of the node and its services since the page was opened.
function changes(s) {
  if (!last) return;
  const tell = text => {
    const li = document.createElement("li");
    make(li, "time", {}, new Date(s.at).toLocaleTimeString("en-GB"));
    make(li, "span", {}, text);
    byId("seen").prepend(li);
    while (byId("seen").children.length > 30) byId("seen").lastChild.remove();
    byId("changes").hidden = false;
  };
  if (s.started !== last.started) tell(`${s.node} was restarted`);
  for (const v of s.services) {
    const b = last.services.find(x => x.name === v.name);
    if (!b) continue;
    if (b.role !== v.role) tell(`${v.name}: ${b.role} → ${v.role}`);
    if (b.mode !== v.mode) tell(`${v.name}: new connections are ${v.mode}`);
    if (b.owner !== v.owner) tell(`${v.name}: ${v.owner || "nobody"} answers for the address`);
    if (b.upstream !== v.upstream) tell(`${v.name}: web server ${v.upstream}`);
  }
  for (const p of s.peers) {
    const b = last.peers.find(x => x.name === p.name);
    if (b && b.state !== p.state) tell(`${p.name} is ${p.state}`);
  }
}

function show(s) {
  byId("node").textContent = s.node;
  byId("about").textContent = `${s.address}, up ${ago((Date.parse(s.at) - Date.parse(s.started)) / 1000)}, ${s.version}`;
  const warnings = byId("warnings"), texts = (s.warnings || []).concat(s.peers.filter(p => p.problem).map(p => `${p.name}: ${p.problem}`));
  if (JSON.stringify(texts) !== warnings.dataset.texts) {
    warnings.dataset.texts = JSON.stringify(texts);
    warnings.replaceChildren();
    for (const w of texts) make(warnings, "li", {class: "warning"}, w);
  }
  for (const old of [...byId("services").children]) if (!s.services.some(v => `service-${v.name}` === old.id)) old.remove();
  for (const v of s.services) service(s, v);
  changes(s);
  const drops = Object.entries(s.drops || {}).filter(([, n]) => n > 0).sort(([a], [b]) => a < b ? -1 : 1);
  byId("drops").replaceChildren();
  byId("nothing").hidden = drops.length > 0;
  for (const [reason, n] of drops) {
    const row = make(byId("drops"), "div");
    make(row, "dt", {}, reason);
    make(row, "dd", {class: "number"}, group(n));
  }
  document.title = `${s.services.map(v => `${v.name} ${verdict(v)[0]}`).join(", ")} · ftgw ${s.node}`;
  last = s;
}

function live(text, grade) {
  const chip = byId("live");
  if (chip.textContent === text) return;
  chip.textContent = text;
  chip.className = `chip ${grade}`;
}

let heard = 0, events;

function listen() {
  events = new EventSource("/events");
  events.onmessage = m => {
    heard = performance.now();
    live("live", "good");
    show(JSON.parse(m.data));
  };
  events.onerror = () => live("no answer, trying again", "bad");
}

listen();
setInterval(() => {
  if (performance.now() - heard > 3500) live("no answer, trying again", "bad");
  if (events.readyState === EventSource.CLOSED) listen(); // it was turned away: the node stops, or too many pages are live
}, 5000);
let resized;
addEventListener("resize", () => {
  cancelAnimationFrame(resized);
  resized = requestAnimationFrame(() => { if (last) for (const v of last.services) topology(byId(`service-${v.name}`).querySelector(".stage"), last, v); });
});
