"use strict";
/* Draws the report inside this page. Strings of the report become text nodes and attributes, never markup. */
(() => {
const report = JSON.parse(document.getElementById("report").textContent);
const album = JSON.parse(document.getElementById("album").textContent);
const $ = id => document.getElementById(id);

// --- elements ---------------------------------------------------------------------------------------------------------

/** `h("td.best", {title: "..."}, "text", child)`: an element; functions are listeners, null children are left out. */
function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElement(tag), classes, attributes, children);
}

function svg(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key.startsWith("--")) element.style.setProperty(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter(child => child != null && child !== false));
  return element;
}

function select(label, options, value, change) {
  const box = h("select", {"aria-label": label, change: () => change(box.value)},
    options.map(([key, text]) => h("option", {value: key, selected: key === value}, text)));
  return h("label.field", {}, label, box);
}

/** Radio buttons that look like one switch. */
function choice(name, options, value, change) {
  return h("span.choice", {role: "radiogroup", "aria-label": name}, options.map(([key, text]) => h("label", {},
    h("input", {type: "radio", name, value: key, checked: key === value, change: () => change(key)}), h("span", {}, text))));
}

function able(group, on) {
  for (const input of group.querySelectorAll("input")) input.disabled = !on;
}

function check(text, checked, change) {
  const box = h("input", {type: "checkbox", checked, change: () => change(box.checked)});
  return h("label.check", {}, box, text);
}

function scroll(label, table) {
  return h("div.scroll", {tabindex: 0, role: "region", "aria-label": label}, table);
}

/** A box whose content is drawn to its width, and again when that changes. */
function drawn(draw) {
  let width = 0;
  const box = h("div");
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now && now !== width) box.replaceChildren(draw(width = now));
  }).observe(box);
  return box;
}

// --- the report -------------------------------------------------------------------------------------------------------

const columns = report.columns.filter(column => !column.skipped);
const notRun = report.columns.filter(column => column.skipped);
const byId = new Map(report.columns.map(column => [column.id, column]));
const methods = report.methods;
const others = methods.filter(method => method.name !== report.baseline);
const models = [...new Set([...methods.map(method => method.model), ...Object.keys(report.dial)])];
const total = report.pictures.length;
const colour = model => `var(--series-${models.indexOf(model) % 8})`;
const known = value => value != null;
const unique = items => [...new Set(items)];
const sets = Object.keys(report.parts).filter(Boolean);

const better = column => column.lower_better ? "lower" : "higher";
const arrow = column => column.lower_better ? "↓" : "↑";
const sign = column => column.lower_better ? -1 : 1;
const plainLabel = column => `${column.label} ${arrow(column)}${column.trained_on ? " †" : ""}`;

/** [mean, low, high] of a method on a test set ("" for all); values over a whole set, as FID, have no interval. */
function mean(method, column, part = "") {
  const whole = part ? undefined : report.set_values[method]?.[column.id];
  const interval = report.parts[part].summary[method]?.[column.id];
  return known(interval?.[0]) ? interval : known(whole) ? [whole, null, null] : null;
}

function difference(method, column, part = "") {
  const paired = report.parts[part].differences[method]?.[column.id];
  if (paired || method === report.baseline) return paired ?? null;
  const [ours, theirs] = [mean(method, column, part), mean(report.baseline, column, part)];
  return ours && theirs && !known(ours[1]) ? [ours[0] - theirs[0], null, null] : null;
}

/** "better", "worse" or "open": better or worse only where the interval leaves out zero. */
function resultOf(interval, column) {
  if (!interval || !known(interval[1])) return "open";
  const [low, high] = column.lower_better ? [-interval[2], -interval[1]] : [interval[1], interval[2]];
  return low > 0 ? "better" : high < 0 ? "worse" : "open";
}

const valueOf = (method, column, index) => report.values[method]?.[column.id]?.[index] ?? null;

// --- numbers ----------------------------------------------------------------------------------------------------------

/** Decimals that show four digits of a column's largest mean, so that its numbers align. */
const decimals = new Map(columns.map(column => {
  const sizes = methods.map(method => Math.abs(mean(method.name, column)?.[0] ?? 0));
  return [column.id, Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(Math.max(...sizes, 1e-9)))))];
}));
const minus = text => text.replace("-", "−");
const number = (value, column) => known(value) ? minus(value.toFixed(decimals.get(column.id))) : "–";
const signed = (value, column) => (value > 0 ? "+" : "") + number(value, column);
const count = value => value.toLocaleString("en");
const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
const general = value => typeof value === "number"
  ? minus(Number.isInteger(value) ? count(value) : String(+value.toPrecision(5))) : String(value ?? "–");

function range(interval, column, format = number) {
  return known(interval[1]) ? `[${format(interval[1], column)}, ${format(interval[2], column)}]` : "no interval";
}

const SIGNS = {better: "▲", worse: "▼", open: ""};
function mark(result, words = true) {
  return h(`span.mark.${result}`, {}, h("span", {"aria-hidden": "true"}, SIGNS[result]),
    words && result !== "open" ? h("span.unseen", {}, ` ${result} than the baseline`) : null);
}

function columnName(column) {
  return [column.label, " ", h("span", {title: `${better(column)} is better`}, h("span", {"aria-hidden": "true"}, arrow(column)),
    h("span.unseen", {}, `${better(column)} is better`)), dagger(column)];
}

function dagger(column) {
  return column.trained_on ? [" ", h("abbr", {title: `trained on: ${column.trained_on}`}, "†")] : null;
}

// --- tables that sort -------------------------------------------------------------------------------------------------

/**
 * A table that a press on a header sorts: best first, worst first, as given.
 * heads: [{key, label, below, column, kind}]; those without a key do not sort. A column says which direction is best.
 * rows: [{keys: {key: number or text}, cells}]; null comes last.
 * order: {by, worst}, kept by the caller where the sorting should outlive a redrawing.
 */
function sortingTable(caption, heads, rows, order = {by: "", worst: false}) {
  const head = h("tr");
  const body = h("tbody");
  const draw = () => {
    head.replaceChildren(...heads.map(one => header(one, order, press)));
    body.replaceChildren(...inOrder(rows, order, heads).map(row => h("tr", {}, row.cells)));
  };
  const press = key => {
    [order.by, order.worst] = order.by !== key ? [key, false] : order.worst ? ["", false] : [key, true];
    draw();
    head.querySelector(`[data-sort="${CSS.escape(key)}"]`).focus();
  };
  draw();
  return scroll(caption, h("table.wide.pinned", {}, h("caption.unseen", {}, caption), h("thead", {}, head), body));
}

function header({key, label, below, column, kind}, order, press) {
  const tag = kind ? `th.${kind}` : "th";
  if (!key) return h(tag, {scope: "col"}, label, below);
  const falling = column && !column.lower_better ? !order.worst : order.worst;
  const state = order.by !== key ? "none" : falling ? "descending" : "ascending";
  return h(state === "none" ? tag : `${tag}.on`, {scope: "col", "aria-sort": state},
    h("button", {type: "button", "data-sort": key, click: () => press(key)}, label), below,
    state !== "none" && h("span.small.sorted", {"aria-hidden": "true"}, column ? (order.worst ? "worst first" : "best first") : state));
}

function inOrder(rows, {by, worst}, heads) {
  const column = heads.find(one => one.key === by)?.column;
  return by ? sorted(rows, row => row.keys[by] ?? null, (column ? -sign(column) : 1) * (worst ? -1 : 1)) : rows;
}

/** Items by their number or text, rising where `turn` is 1 and falling where it is -1; those that have none come last. */
function sorted(items, key, turn) {
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b) : a - b;
  const keyed = items.map(item => [key(item), item]);
  return keyed.sort(([a], [b]) => known(a) && known(b) ? turn * compare(a, b) : known(b) - known(a)).map(([, item]) => item);
}

const byName = {key: "name", label: "Method"};
const tagged = tag => h("span.small", {}, h("span.tag", {}, tag));

// --- results ----------------------------------------------------------------------------------------------------------

const view = {part: "", show: "means", hidden: new Set(), order: {by: "", worst: false}};
const visible = () => columns.filter(column => !view.hidden.has(column.id));
const isBaseline = method => method.name === report.baseline;

function results() {
  const heading = h("summary");
  const redraw = () => {
    heading.textContent = `Metrics (${visible().length} of ${columns.length})`;
    resultsTable();
    differencePlots();
  };
  const toggle = (column, on) => {
    view.hidden[on ? "delete" : "add"](column.id);
    redraw();
  };
  $("results-tools").append(
    choice("Show", [["means", "Means"], ["differences", "Differences"]], view.show, show => { view.show = show; redraw(); }),
    sets.length ? select("Test set", setOptions(), "", part => { view.part = part; redraw(); }) : "",
    h("details", {}, heading, h("div.checks", {}, columns.map(column => check(plainLabel(column), true, on => toggle(column, on))))));
  $("dagger-note").hidden = !report.columns.some(column => column.trained_on);
  if (notRun.length) $("not-run").append(h("h3", {}, "Not run"), h("dl.not-run", {}, notRun.map(column =>
    [h("dt", {}, columnName(column)), h("dd", {}, column.skipped)])));
  redraw();
}

const setOptions = () => [["", `all (${count(total)})`], ...sets.map(name => [name, `${name} (${count(report.parts[name].pictures)})`])];

function resultsTable() {
  const guarded = column => report.companions[column.id];
  const heads = visible().flatMap(column => [
    {key: column.id, label: columnName(column), below: column.optimised && tagged("optimised"), column},
    ...(guarded(column) ? [{label: ["guards of", h("br"), column.label], kind: "guard"}] : [])]);
  const best = new Map(visible().map(column => [column, bestMean(column)]));
  const rows = methods.map(method => ({
    keys: {name: method.name, ...Object.fromEntries(visible().map(column => [column.id, shownInterval(method, column)?.[0]]))},
    cells: [methodName(method), visible().map(column => [
      view.show === "means" ? meanCell(method, column, best.get(column)) : differenceCell(method, column, view.part),
      guarded(column) && h("td.guard", {}, guardSummary(method, column))])],
  }));
  const caption = view.show === "means" ? "Means with intervals" : "Paired differences to the baseline with intervals";
  $("results-table").replaceChildren(sortingTable(caption, [byName, ...heads], rows, view.order));
}

function shownInterval(method, column) {
  if (view.show === "means") return mean(method.name, column, view.part);
  return isBaseline(method) ? [0, null, null] : difference(method.name, column, view.part);
}

function bestMean(column) {
  const means = methods.map(method => mean(method.name, column, view.part)?.[0]).filter(known);
  return means.length > 1 ? (column.lower_better ? Math.min : Math.max)(...means) : null;
}

function methodName(method) {
  const tally = {better: 0, worse: 0, open: 0};
  for (const column of columns.filter(column => !column.trained_on && !column.optimised)) {
    const interval = difference(method.name, column, view.part);
    if (interval) tally[resultOf(interval, column)] += 1;
  }
  return h("th", {scope: "row"}, method.name, isBaseline(method)
    ? h("span.small", {}, h("span.tag", {}, "baseline"))
    : h("span.small", {title: "held-out metrics against the baseline"}, "held out ", tallied(tally)));
}

function tallied(tally) {
  return h("span.tally", {}, h("span.better", {}, `${tally.better} ▲`), h("span.worse", {}, `${tally.worse} ▼`), h("span", {}, `${tally.open} open`));
}

function meanCell(method, column, best) {
  const interval = mean(method.name, column, view.part);
  if (!interval) return h("td.soft", {}, "–");
  return h("td", {}, h(interval[0] === best ? "span.best" : "span", {}, number(interval[0], column)),
    mark(resultOf(difference(method.name, column, view.part), column)), h("span.small", {}, range(interval, column)));
}

function differenceCell(method, column, part = "") {
  if (isBaseline(method)) return h("td.soft", {}, "0");
  const interval = difference(method.name, column, part);
  if (!interval) return h("td.soft", {}, "–");
  const result = resultOf(interval, column);
  return h("td", {}, h(`span.${result}`, {}, signed(interval[0], column)), mark(result), h("span.small", {}, range(interval, column, signed)));
}

// --- guards -----------------------------------------------------------------------------------------------------------

const heldOut = column => (report.companions[column.id]["held out"] ?? []).map(id => byId.get(id)).filter(known);

function guardSummary(method, column) {
  const tally = {better: 0, worse: 0, open: 0};
  for (const held of heldOut(column).filter(held => !held.skipped)) tally[resultOf(difference(method.name, held, view.part), held)] += 1;
  return [isBaseline(method) ? h("span.soft", {}, "baseline") : tallied(tally), h("span.small", {}, faces(method.name, column))];
}

function faces(method, column) {
  const {"under identity threshold": under, threshold} = report.companions[column.id];
  return known(under?.[method]) ? `${counted(under[method], "face")} beyond ${general(threshold)}` : "faces not counted";
}

function guards() {
  const guarded = columns.filter(column => report.companions[column.id]);
  if (!guarded.length) return drop("guards");
  $("guards-body").append(...guarded.map(column => [h("h3", {}, column.label), guardTable(column)]).flat());
}

function guardTable(column) {
  const [held, guard] = [heldOut(column), report.companions[column.id]];
  const heads = [byName, {key: column.id, label: columnName(column), below: tagged("optimised"), column},
    ...held.map(other => ({key: other.id, label: columnName(other), below: h("span.small", {}, "held out"), column: other})),
    {key: "identity changed", label: "Identity changed", below: h("span.small", {}, `faces beyond ${general(guard.threshold)}`)}];
  const change = (method, other) => isBaseline(method) ? 0 : difference(method.name, other)?.[0];
  const rows = methods.map(method => ({
    keys: {name: method.name, "identity changed": guard["under identity threshold"]?.[method.name],
      ...Object.fromEntries([column, ...held].map(other => [other.id, change(method, other)]))},
    cells: [h("th", {scope: "row"}, method.name),
      [column, ...held].map(other => other.skipped ? h("td.soft", {title: other.skipped}, "not run") : differenceCell(method, other)),
      identityCell(method, column)],
  }));
  return sortingTable(`Differences to the baseline of ${column.label} and of held-out metrics`, heads, rows);
}

function identityCell(method, column) {
  const under = report.companions[column.id]["under identity threshold"]?.[method.name];
  return h("td", {}, known(under) ? [count(under), h("span.small", {}, `of ${count(total)}`)] : h("span.soft", {}, "not counted"));
}

// --- plots ------------------------------------------------------------------------------------------------------------

/** Round numbers inside [low, high], about `wanted` of them. */
function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].reduce((a, b) => Math.abs(Math.log(b * power / raw)) < Math.abs(Math.log(a * power / raw)) ? b : a);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({length: Math.floor(high / step + 1e-9) - first + 1}, (_, index) => (first + index) * step);
}

function tickText(value, all) {
  const step = all.length > 1 ? all[1] - all[0] : Math.abs(value) || 1;
  return minus((Math.abs(value) < step / 1e6 ? 0 : value).toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))));
}

/** [low, high] around all numbers, with some air. */
function span(numbers) {
  const kept = numbers.filter(known);
  const [low, high] = [Math.min(...kept), Math.max(...kept)];
  const air = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - air, high + air];
}

/** Numbers of `domain` -> pixels of `pixels`; backwards where lower values are better, so that better is right and up. */
function scale(domain, pixels, column) {
  const [from, to] = column?.lower_better ? [domain[1], domain[0]] : domain;
  return value => pixels[0] + (value - from) / (to - from) * (pixels[1] - pixels[0]);
}

const line = (x1, y1, x2, y2, attributes = {}, kind = "line") => svg(kind, {x1, y1, x2, y2, ...attributes});
const text = (x, y, content, attributes = {}, kind = "text") => svg(kind, {x, y, ...attributes}, content);
const shorten = (name, pixels) => name.length * 6.4 <= pixels ? name : name.slice(0, Math.max(1, Math.floor(pixels / 6.4) - 1)) + "…";
const panel = (title, draw) => h("figure.panel", {}, h("figcaption", {}, title), drawn(draw));
const picture = (width, height, label, ...children) =>
  svg("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label}, children);

function bottomAxis(x, domain, top, bottom, width) {
  const values = ticks(...domain, Math.min(9, Math.max(3, Math.floor(width / 60))));
  return values.map(value => [line(x(value), top, x(value), bottom, {}, "line.grid"),
    text(x(value), bottom + 15, tickText(value, values), {"text-anchor": "middle"})]);
}

function leftAxis(y, domain, left, right, height) {
  const values = ticks(...domain, Math.max(2, Math.floor(height / 45)));
  return values.map(value => [line(left, y(value), right, y(value), {}, "line.grid"),
    text(left - 7, y(value) + 4, tickText(value, values), {"text-anchor": "end"})]);
}

function differencePlots() {
  const plotted = visible().filter(column => others.some(method => known(difference(method.name, column, view.part)?.[1])));
  $("differences-body").replaceChildren(...plotted.map(column => panel(columnName(column), width => differencePlot(column, width))));
  $("differences").hidden = !plotted.length;
}

function differencePlot(column, width) {
  const rows = others.map(method => [method.name, difference(method.name, column, view.part)]).filter(([, interval]) => known(interval?.[1]));
  const names = Math.min(Math.max(...rows.map(([name]) => name.length)) * 6.4 + 12, width * 0.4);
  const bottom = rows.length * 27 + 6;
  const domain = span([0, ...rows.flatMap(([, interval]) => interval)]);
  const x = scale(domain, [names + 8, width - 10], column);
  const summary = rows.map(([name, interval]) => `${name}: ${signed(interval[0], column)} ${range(interval, column, signed)}`).join("; ");
  return picture(width, bottom + 38, `Differences in ${column.label}. ${summary}`,
    bottomAxis(x, domain, 0, bottom, width - names), line(x(0), 0, x(0), bottom, {}, "line.zero"),
    text(width - 8, bottom + 33, "better →", {"text-anchor": "end"}),
    rows.map(([name, interval], row) => differenceRow(name, interval, column, x, row * 27 + 16, names)));
}

function differenceRow(name, interval, column, x, y, names) {
  const result = resultOf(interval, column);
  const stroke = {better: "var(--better)", worse: "var(--worse)", open: "var(--soft)"}[result];
  return svg("g", {}, svg("title", {}, `${name}: ${signed(interval[0], column)} ${range(interval, column, signed)}`),
    text(0, y + 4, shorten(name, names), {}, "text.name"),
    line(x(interval[1]), y, x(interval[2]), y, {stroke, "stroke-width": 2, "stroke-linecap": "round"}),
    svg("circle", {cx: x(interval[0]), cy: y, r: 4.5, fill: result === "open" ? "var(--paper)" : stroke, stroke, "stroke-width": 2}));
}

const axes = {};

function tradeoff() {
  const usable = columns.filter(column => methods.filter(method => mean(method.name, column)).length > 1);
  if (usable.length < 2) return drop("tradeoff");
  const independent = usable.filter(column => !column.trained_on && !column.optimised);
  const optimised = usable.find(column => column.optimised);
  axes.y = optimised ?? usable[0];
  axes.x = [...independent, ...usable].find(column => column !== axes.y);
  const box = h("div");
  const redraw = () => box.replaceChildren(drawn(tradeoffPlot));
  const options = usable.map(column => [column.id, plainLabel(column)]);
  $("tradeoff-tools").append(...["x", "y"].map(axis => select(axis === "x" ? "Across" : "Upwards", options, axes[axis].id,
    id => { axes[axis] = byId.get(id); redraw(); })));
  $("tradeoff-body").append(box);
  redraw();
}

function tradeoffPlot(width) {
  const [height, left, top, bottom, right] = [Math.min(460, Math.max(300, width * 0.6)), 52, 22, 46, 24];
  const points = methods.map(method => ({name: method.name, model: method.model, at: [mean(method.name, axes.x), mean(method.name, axes.y)]}))
    .filter(point => point.at.every(known));
  const paths = models.map(model => ({model, at: dialPoints(model, axes.x, axes.y)})).filter(path => path.at.length > 1);
  const numbers = axis => [...points.map(point => point.at), ...paths.flatMap(path => path.at)].flatMap(at => at[axis]);
  const [domainX, domainY] = [span(numbers(0)), span(numbers(1))];
  const x = scale(domainX, [left, width - right], axes.x);
  const y = scale(domainY, [height - bottom, top], axes.y);
  const label = points.map(({name, at}) => `${name}: ${number(at[0][0], axes.x)}, ${number(at[1][0], axes.y)}`).join("; ");
  return picture(width, height, `${axes.y.label} over ${axes.x.label}. ${label}`,
    bottomAxis(x, domainX, top, height - bottom, width - left - right), leftAxis(y, domainY, left, width - right, height - top - bottom),
    text(0, 10, `↑ better: ${plainLabel(axes.y)}`), text(width - right, height - 8, `${plainLabel(axes.x)}: better →`, {"text-anchor": "end"}),
    paths.map(path => dialPath(path, x, y)),
    points.map(point => cross(point, x, y)), pointNames(points, x, y, width));
}

function dialPath({model, at}, x, y) {
  const points = at.map(([across, up]) => [x(across[0]), y(up[0])]);
  return svg("g", {opacity: 0.6}, svg("polyline", {points: points.join(" "), fill: "none", stroke: colour(model), "stroke-width": 1.2}),
    points.map(([cx, cy]) => svg("circle", {cx, cy, r: 1.8, fill: colour(model)})));
}

function dialPoints(model, ...wanted) {
  const steps = (report.dial[model] ?? []).map(step => [asked(step.quality), step.means]).filter(([quality]) => known(quality));
  return steps.sort(([a], [b]) => a - b).map(([, means]) => wanted.map(column => means[column.id])).filter(at => at.every(known));
}

function cross({name, model, at: [across, up]}, x, y) {
  const stroke = {stroke: colour(model), "stroke-width": 1.6, opacity: 0.75};
  const [cx, cy] = [x(across[0]), y(up[0])];
  return svg("g", {}, svg("title", {}, `${name}: ${number(across[0], axes.x)}, ${number(up[0], axes.y)}`),
    known(across[1]) && line(x(across[1]), cy, x(across[2]), cy, stroke), known(up[1]) && line(cx, y(up[1]), cx, y(up[2]), stroke),
    svg("circle", {cx, cy, r: 5, fill: colour(model), stroke: "var(--paper)", "stroke-width": 1.5}));
}

/** Names beside their points, left of them where the right has no room, pushed down where they would cover each other. */
function pointNames(points, x, y, width) {
  const placed = [];
  return sorted(points, point => y(point.at[1][0]), 1).map(point => {
    const name = shorten(point.name, width / 2);
    const size = name.length * 6.6;
    const at = x(point.at[0][0]);
    const left = at + 9 + size > width ? at - 9 - size : at + 9;
    let top = y(point.at[1][0]) - 6;
    while (placed.some(other => Math.abs(other.top - top) < 13 && left < other.left + other.size && other.left < left + size)) top += 3;
    placed.push({left, top, size});
    return left < at ? text(at - 9, top, name, {"text-anchor": "end"}, "text.name.halo") : text(left, top, name, {}, "text.name.halo");
  });
}

/** A quality as a number in [0, 1]; null where none was asked for, as by "any". */
const asked = quality => quality === "best" ? 0.95 : known(quality) && quality !== "" && isFinite(quality) ? Number(quality) : null;

function dial() {
  const turned = models.filter(model => (report.dial[model] ?? []).filter(step => known(asked(step.quality))).length > 1);
  const plotted = columns.filter(column => turned.some(model => dialPoints(model, column).length > 1));
  if (!plotted.length) return drop("dial");
  $("dial-legend").append(...turned.map(model => h("span", {"--own": colour(model)}, model)), h("span.dashed", {}, `baseline: ${report.baseline}`));
  $("dial-body").append(...plotted.map(column => panel(columnName(column), width => dialPlot(column, turned, width))));
  $("dial-numbers").append(...turned.map(model => dialTable(model, plotted)));
}

function dialPlot(column, turned, width) {
  const [height, left, top, bottom] = [230, 46, 12, 190];
  const curves = turned.map(model => ({model, at: dialCurve(model, column)})).filter(({at}) => at.length > 1);
  const baseline = mean(report.baseline, column);
  const domain = span([...curves.flatMap(({at}) => at.flatMap(([, interval]) => interval)), baseline?.[0]]);
  const x = scale([0, 1], [left, width - 12]);
  const y = scale(domain, [bottom, top], column);
  return picture(width, height, `${column.label} over the quality asked for; the numbers follow below`,
    bottomAxis(x, [0, 1], top, bottom, width - left), leftAxis(y, domain, left, width - 12, bottom - top),
    baseline && line(left, y(baseline[0]), width - 12, y(baseline[0]), {}, "line.reference"),
    text(width - 12, height - 6, "quality asked for", {"text-anchor": "end"}), text(0, height - 6, "↑ better"),
    curves.map(curve => dialLine(curve, column, x, y)));
}

function dialCurve(model, column) {
  const points = report.dial[model].map(step => [asked(step.quality), step.means[column.id]]);
  return points.filter(([quality, interval]) => known(quality) && known(interval)).sort(([a], [b]) => a - b);
}

function dialLine({model, at}, column, x, y) {
  const path = points => points.map(([quality, value]) => `${x(quality).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const edge = side => at.map(([quality, interval]) => [quality, interval[side] ?? interval[0]]);
  return svg("g", {},
    svg("polygon", {points: path([...edge(1), ...edge(2).reverse()]), fill: colour(model), opacity: 0.14}),
    svg("polyline", {points: path(edge(0)), fill: "none", stroke: colour(model), "stroke-width": 2}),
    edge(0).map(([quality, value]) => svg("circle", {cx: x(quality), cy: y(value), r: 3, fill: colour(model)},
      svg("title", {}, `${model} at ${general(quality)}: ${number(value, column)}`))));
}

function dialTable(model, plotted) {
  const rows = report.dial[model].map(step => h("tr", {}, h("th", {scope: "row"}, general(step.quality ?? "any")), plotted.map(column => {
    const interval = step.means[column.id];
    return h("td", {}, number(interval?.[0], column), interval && h("span.small", {}, range(interval, column)));
  })));
  return scroll(`Dial of ${model}`, h("table.pinned", {}, h("caption.unseen", {}, model),
    h("thead", {}, h("tr", {}, h("th", {scope: "col"}, model), plotted.map(column => h("th", {scope: "col"}, columnName(column))))),
    h("tbody", {}, rows)));
}

// --- named scores -----------------------------------------------------------------------------------------------------

function scores() {
  const named = Object.entries(report.scores);
  if (!named.length) return drop("scores");
  $("scores-body").append(...named.flatMap(([name, rows]) => [h("h3", {}, name), missingTerms(rows), scoreTable(name, rows)]));
}

const termsOf = rows => unique(Object.values(rows).flatMap(row => [...Object.keys(row.terms ?? {}), ...(row["not run"] ?? [])]));

function missingTerms(rows) {
  const missing = unique(Object.values(rows).flatMap(row => row["not run"] ?? []));
  if (!missing.length) return "";
  return h("p.note", {}, `Not run: ${missing.join(", ")}. What stands here is the sum of the other terms: it can be compared within this page, not with published scores.`);
}

function scoreTable(name, rows) {
  const terms = termsOf(rows);
  const heads = [byName, {key: "score", label: "Score", column: MORE, kind: "left"}, ...terms.map(term => ({key: `term ${term}`, label: term, column: MORE})),
    {label: "Identity gate"}];
  return sortingTable(name, heads, methods.filter(method => rows[method.name]).map(method => scoreRow(method.name, rows[method.name], terms)));
}

/** Of scores and of their terms, more is better. */
const MORE = {lower_better: false};

function scoreRow(name, row, terms) {
  const ran = terms.filter(term => known(row.terms?.[term]));
  return {
    keys: {name, score: row.score, ...Object.fromEntries(ran.map(term => [`term ${term}`, row.terms[term]]))},
    cells: [h("th", {scope: "row"}, name),
      h("td.left", {}, h("span.best", {}, known(row.score) ? row.score.toFixed(3) : "–"), h("span.small", {}, `${ran.length} of ${terms.length} terms${known(row.N) ? `, N = ${count(row.N)}` : ""}`), stack(row, terms)),
      terms.map(term => known(row.terms?.[term]) ? h("td", {}, row.terms[term].toFixed(3)) : h("td.soft", {}, "not run")),
      h("td.reason", {}, gate(row.gate ?? {}))],
  };
}

/** The terms side by side, each in a unit of its own length; a hatched unit was not run. */
function stack(row, terms) {
  const unit = 100 / terms.length;
  return h("div.stack", {"aria-hidden": "true"}, terms.map((term, index) => known(row.terms?.[term])
    ? h("i", {title: `${term}: ${row.terms[term].toFixed(3)}`, "--width": `${unit * Math.max(0, row.terms[term])}%`, "--fade": 1 - 0.6 * index / terms.length})
    : h("i.missing", {title: `${term}: not run`, "--width": `${unit}%`})));
}

/** Whether an entry is valid by its faces, or why that is not known. */
function gate({valid, below, allowed, "not run": reason, "below by set": bySet = {}}) {
  if (!known(valid)) return [h("span.soft", {}, "not run"), h("span.small", {}, reason ?? "")];
  const sets = Object.entries(bySet).filter(([, faces]) => faces).map(([name, faces]) => `${name} ${faces}`).join(", ");
  return [h(`span.${valid ? "better" : "worse"}`, {}, valid ? "passed" : "failed"),
    h("span.small", {}, `${counted(below, "face")} below, ${allowed} allowed`), sets && h("span.small", {}, sets)];
}

/** A fact as text: lists joined, yes and no for truth values. */
function asText(fact) {
  if (typeof fact === "boolean") return fact ? "yes" : "no";
  if (Array.isArray(fact)) return fact.map(asText).join(", ");
  if (fact && typeof fact === "object") return Object.entries(fact).map(([name, inner]) => `${name} ${asText(inner)}`).join(", ");
  return general(fact);
}

// --- pictures ---------------------------------------------------------------------------------------------------------

const roles = Object.keys(report.images);
const valued = methods.map(method => method.name).filter(name => Object.values(report.values[name] ?? {}).some(values => values.some(known)));
const shots = {left: "", right: "", index: 0, by: "", change: false, of: "", worst: true, part: "", find: "", only: false, limit: 48, list: [], order: {by: "", worst: false}};

const uri = (role, index) => album[report.images[role]?.[index] ?? -1];
const hasPicture = index => roles.some(role => uri(role, index));

function pictures() {
  if (!total || !(roles.length || valued.length)) return drop("pictures");
  const results = roles.filter(role => methods.some(method => method.name === role));
  shots.left = roles.includes("input") ? "input" : roles[0] ?? "";
  shots.right = others.map(method => method.name).find(name => roles.includes(name)) ?? results[0] ?? roles.at(-1) ?? "";
  shots.of = valued.includes(shots.right) ? shots.right : valued[0] ?? "";
  shots.only = roles.length > 0 && report.album.kept < total;
  $("pictures-note").textContent = aboutPictures();
  $("pictures-tools").append(...pictureTools());
  $("pictures-tools").addEventListener("submit", event => event.preventDefault());
  $("pictures-body").append(viewer(), h("div.strip", {id: "strip", role: "group", "aria-label": "Test pictures"}), h("p.note", {id: "listed"}),
    valued.length ? h("details", {}, h("summary", {}, "Scores of all methods on this picture"), h("div", {id: "all-scores"})) : "");
  list();
}

function aboutPictures() {
  const {kept, side, unreadable} = report.album;
  if (!roles.length) return "This report was made without pictures; scores of every test picture follow.";
  const copies = `Pictures here are reduced copies of at most ${side} pixels; every score was measured on the files themselves.`;
  const room = kept < total ? ` The page has room for ${count(kept)} of ${counted(total, "test picture")}: drawn with seed 0, in turn with the worst cases of every method by every metric. The others are left out here, not in the numbers.` : "";
  const failed = unreadable.length ? ` ${counted(unreadable.length, "file")} could not be read: ${unreadable.slice(0, 5).join(", ")}${unreadable.length > 5 ? ", …" : ""}.` : "";
  return copies + room + failed;
}

function pictureTools() {
  const set = key => value => { shots[key] = value; shots.limit = 48; list(); };
  const measured = columns.filter(column => valued.some(name => report.values[name][column.id]?.some(known)));
  const changes = valued.includes(report.baseline) && valued.length > 1 ? measured.map(column => [`change ${column.id}`, `${plainLabel(column)}, change from the baseline`]) : [];
  const which = choice("First", [["worst", "Worst first"], ["best", "Best first"]], "worst", value => set("worst")(value === "worst"));
  const byMetric = key => {
    able(which, key);
    shots.change = key.startsWith("change ");
    set("by")(shots.change ? key.slice(7) : key);
  };
  able(which, shots.by);
  return [
    select("Order", [["", "as in the test set"], ...measured.map(column => [column.id, plainLabel(column)]), ...changes], "", byMetric),
    valued.length ? select("of method", valued.map(name => [name, name]), shots.of, set("of")) : "",
    which,
    sets.length ? select("Test set", setOptions(), "", set("part")) : "",
    h("label.field", {}, "Name", h("input", {type: "search", placeholder: "part of a name", input: event => set("find")(event.target.value)})),
    roles.length && report.album.kept < total ? check("only those with pictures here", shots.only, set("only")) : "",
  ];
}

function viewer() {
  const layers = ["before", "after"].map(side => h(`div.layer.${side}`, {id: side}));
  const captions = [h("span.caption.left", {id: "left-name"}), h("span.caption.right", {id: "right-name"})];
  const handle = h("div.handle", {id: "handle", tabindex: 0, role: "slider", "aria-label": "Boundary between the two pictures", "aria-valuemin": 0, "aria-valuemax": 100, "aria-orientation": "horizontal", keydown: slideByKey});
  const stage = h("div.stage", {id: "stage", pointerdown: grab, dblclick: zoomHere}, layers, captions, handle);
  const step = (id, content, name, by) => h("button.button", {id, type: "button", "aria-label": name, click: () => move(by)}, content);
  const under = h("div.under", {}, step("previous", "←", "Previous picture", -1), step("next", "→", "Next picture", 1), h("span.at", {id: "at"}),
    choice("Zoom", [["1", "1×"], ["2", "2×"], ["4", "4×"]], "1", zoom));
  const names = roles.map(role => [role, role]);
  const pick = side => name => { shots[side] = name; show(); if (side === "right") thumbs(); };
  const pickers = h("div.pair", {}, select("Left", names, shots.left, pick("left")), h("button.button", {type: "button", id: "swap", "aria-label": "Swap left and right", click: swap}, "⇄"), select("Right", names, shots.right, pick("right")));
  pickers.querySelectorAll("select").forEach((box, index) => box.id = ["pick-left", "pick-right"][index]);
  return h("div.viewer", {}, h("div", {hidden: !roles.length}, stage, under), h("div", {}, h("h3", {id: "picture-name"}), h("p.soft", {id: "picture-facts"}), roles.length ? pickers : "", h("div", {id: "scores-here"})));
}

/** Pictures in the order asked for; those without a value come last. */
function list() {
  const wanted = shots.find.toLowerCase();
  const column = byId.get(shots.by);
  const kept = report.pictures.map((_, index) => index).filter(index => {
    const {name, dataset} = report.pictures[index];
    return (!shots.part || dataset === shots.part) && name.toLowerCase().includes(wanted) && (!shots.only || hasPicture(index));
  });
  shots.list = column ? sorted(kept, index => ordering(column, index), shots.worst ? sign(column) : -sign(column)) : kept;
  if (shots.list.length) shots.index = shots.list[0];
  $("listed").textContent = shots.list.length ? "" : "No picture fits; empty the name or choose another test set.";
  $("listed").hidden = shots.list.length > 0;
  thumbs();
  show();
}

function ordering(column, index) {
  const value = valueOf(shots.of, column, index);
  if (!shots.change) return value;
  const theirs = valueOf(report.baseline, column, index);
  return known(value) && known(theirs) ? value - theirs : null;
}

function thumbs() {
  const more = shots.list.length > shots.limit && h("button.button", {type: "button", click: () => { shots.limit += 48; thumbs(); }}, `${count(shots.list.length - shots.limit)} more`);
  $("strip").replaceChildren(...shots.list.slice(0, shots.limit).map(thumb), ...(more ? [more] : []));
}

function thumb(index) {
  const {name} = report.pictures[index];
  const column = byId.get(shots.by);
  const source = uri(shots.right, index);
  return h("button.thumb", {type: "button", title: name, "data-index": index, "aria-current": index === shots.index, click: () => go(index)},
    h("span.frame", {}, source ? h("img", {src: source, alt: "", decoding: "async"}) : "no picture"), h("b", {}, name),
    column && h("span.small", {}, (shots.change ? signed : number)(ordering(column, index), column)));
}

function go(index) {
  shots.index = index;
  show();
}

function move(by) {
  const place = Math.min(shots.list.length - 1, Math.max(0, shots.list.indexOf(shots.index) + by));
  if (place >= shots.limit) { shots.limit += 48; thumbs(); }
  go(shots.list[place]);
  const current = $("strip").querySelector("[aria-current=true]");
  $("strip").scrollLeft += current.getBoundingClientRect().left - $("strip").getBoundingClientRect().left - 80;
}

function show() {
  const {index} = shots;
  const {name, group, dataset} = report.pictures[index];
  const place = shots.list.indexOf(index);
  for (const [layer, role] of [["before", shots.left], ["after", shots.right]]) $(layer).replaceChildren(shot(role, index));
  $("left-name").textContent = shots.left;
  $("right-name").textContent = shots.right;
  $("picture-name").textContent = name;
  $("picture-facts").textContent = unique([dataset, group].filter(part => part && part !== name)).join(" · ");
  $("at").textContent = shots.list.length ? `${count(place + 1)} of ${count(shots.list.length)}` : "";
  $("status").textContent = `Picture ${name}, ${place + 1} of ${shots.list.length}`;
  $("previous").disabled = place <= 0;
  $("next").disabled = place >= shots.list.length - 1;
  for (const box of $("strip").querySelectorAll(".thumb")) box.setAttribute("aria-current", Number(box.dataset.index) === index);
  $("scores-here").replaceChildren(pairScores(index));
  if (valued.length) $("all-scores").replaceChildren(allScores(index));
  slide(Number($("handle").getAttribute("aria-valuenow") ?? 50));
}

function shot(role, index) {
  const source = uri(role, index);
  if (!source) return h("p", {}, `no picture of ${role} in this page`);
  return h("img", {src: source, alt: `${role}: ${report.pictures[index].name}`, load: event => {
    $("stage").style.aspectRatio = `${event.target.naturalWidth} / ${event.target.naturalHeight}`;
  }});
}

function pairScores(index) {
  const sides = [shots.left, shots.right].filter(name => valued.includes(name));
  if (!sides.length) return h("p.soft", {}, roles.length ? "Neither side is a method with scores." : "");
  const rows = columns.filter(column => sides.some(name => known(valueOf(name, column, index))));
  const head = ["Metric", ...sides, ...(sides.length > 1 ? ["Change"] : [])].map(title => h("th", {scope: "col"}, title));
  return scroll("Scores of the two pictures", h("table.wide", {}, h("caption.unseen", {}, "Scores of the two pictures"), h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, rows.map(column => h("tr", {}, h("th", {scope: "row"}, columnName(column)), pairCells(sides.map(name => valueOf(name, column, index)), column))))));
}

function pairCells(values, column) {
  const cells = values.map(value => h("td", {}, number(value, column)));
  if (values.length < 2) return cells;
  if (!values.every(known)) return [...cells, h("td.soft", {}, "–")];
  const change = values[1] - values[0];
  const turn = change * sign(column) > 0 ? "better" : change ? "worse" : "open";
  return [...cells, h("td", {}, h(`span.${turn}`, {}, signed(change, column)), h(`span.mark.${turn}`, {"aria-hidden": "true"}, SIGNS[turn]))];
}

function allScores(index) {
  const shown = columns.filter(column => valued.some(name => known(valueOf(name, column, index))));
  const best = column => (column.lower_better ? Math.min : Math.max)(...valued.map(name => valueOf(name, column, index)).filter(known));
  const cell = (value, column) => h(known(value) && value === best(column) ? "td.best" : "td", {}, number(value, column));
  const heads = [byName, ...shown.map(column => ({key: column.id, label: columnName(column), column}))];
  return sortingTable("Scores of all methods on this picture", heads, valued.map(name => ({
    keys: {name, ...Object.fromEntries(shown.map(column => [column.id, valueOf(name, column, index)]))},
    cells: [h("th", {scope: "row"}, name), shown.map(column => cell(valueOf(name, column, index), column))],
  })), shots.order);
}

function swap() {
  [shots.left, shots.right] = [shots.right, shots.left];
  $("pick-left").value = shots.left;
  $("pick-right").value = shots.right;
  show();
  thumbs();
}

function slide(percent) {
  const cut = Math.min(100, Math.max(0, Math.round(percent)));
  $("stage").style.setProperty("--cut", `${cut}%`);
  $("handle").setAttribute("aria-valuenow", cut);
  $("handle").setAttribute("aria-valuetext", `${cut} % ${shots.left}, ${100 - cut} % ${shots.right}`);
}

function slideByKey(event) {
  const now = Number($("handle").getAttribute("aria-valuenow"));
  const keys = {ArrowLeft: now - 2, ArrowDown: now - 2, ArrowRight: now + 2, ArrowUp: now + 2, PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100};
  if (!(event.key in keys)) return;
  event.preventDefault();
  slide(keys[event.key]);
}

/** Follows a mouse, pen or finger until it is lifted. */
function grab(event) {
  if (event.button) return;
  const stage = $("stage");
  const follow = at => {
    const box = stage.getBoundingClientRect();
    slide(100 * (at.clientX - box.left) / box.width);
  };
  const done = new AbortController();
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", follow, {signal: done.signal});
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => done.abort(), {signal: done.signal});
  follow(event);
}

function zoom(factor) {
  $("stage").style.setProperty("--zoom", factor);
}

/** A double click looks closer at its place, or back. */
function zoomHere(event) {
  const stage = $("stage");
  const box = stage.getBoundingClientRect();
  stage.style.setProperty("--x", `${100 * (event.clientX - box.left) / box.width}%`);
  stage.style.setProperty("--y", `${100 * (event.clientY - box.top) / box.height}%`);
  const factor = Number(stage.style.getPropertyValue("--zoom") || 1) > 1 ? "1" : "4";
  document.querySelector(`input[name=Zoom][value="${factor}"]`).checked = true;
  zoom(factor);
}

// --- provenance -------------------------------------------------------------------------------------------------------

function provenance() {
  const head = titles => h("thead", {}, h("tr", {}, titles.map(title => h("th", {scope: "col"}, title))));
  const protocol = column => h("tr", {}, h("th", {scope: "row"}, column.label), h("td", {}, h("code", {}, column.id)), h("td", {}, better(column)), h("td", {}, remarks(column)));
  $("protocols").append(scroll("Protocols", h("table.wide.plain", {}, head(["Metric", "Protocol", "Better", "Remarks"]), h("tbody", {}, report.columns.map(protocol)))));
  const method = ({name, model, quality, facts}) => h("tr", {}, h("th", {scope: "row"}, name), h("td", {}, model), h("td", {}, quality ?? "–"),
    h("td", {}, Object.entries(facts).map(([fact, value]) => h("div", {}, h("span.soft", {}, `${fact}: `), asText(value)))));
  $("methods").append(scroll("Methods", h("table.wide.plain", {}, head(["Method", "Model", "Quality", "Facts"]), h("tbody", {}, methods.map(method)))));
  $("environment").append(h("div.tree", {}, tree(report.environment)));
}

function remarks(column) {
  const all = [column.optimised && "optimised", column.trained_on && `† trained on: ${column.trained_on}`, column.skipped && `not run: ${column.skipped}`];
  return all.filter(Boolean).join("; ") || "–";
}

function tree(values) {
  return h("dl", {}, Object.entries(values).map(([name, value]) => [h("dt", {}, name),
    h("dd", {}, value && typeof value === "object" && !Array.isArray(value) ? tree(value) : typeof value === "number" ? String(value) : asText(value))]));
}

// --- the page ---------------------------------------------------------------------------------------------------------

function facts() {
  const people = unique(report.pictures.map(picture => picture.group)).length;
  const where = sets.length ? ` in ${counted(sets.length, "test set")}` : "";
  $("facts").append(h("strong", {}, counted(methods.length, "method")), ", ", h("strong", {}, counted(columns.length, "metric")), ", ", h("strong", {}, counted(total, "picture")),
    ` of ${counted(people, "person", "people")}${where}. Differences are taken against `, h("strong", {}, report.baseline), ".", notRun.length ? ` ${counted(notRun.length, "metric")} could not be run; the reasons stand below the table.` : "");
}

function drop(section) {
  $(section).hidden = true;
}

function contents() {
  const parts = [...document.querySelectorAll("main > section")].filter(section => !section.hidden);
  const links = new Map(parts.map(section => [section, h("a", {href: `#${section.id}`}, section.dataset.name)]));
  $("contents").append(...[...links.values()].map(link => h("li", {}, link)));
  const seen = new IntersectionObserver(entries => {
    for (const {target, isIntersecting} of entries) isIntersecting ? links.get(target).setAttribute("aria-current", "true") : links.get(target).removeAttribute("aria-current");
  }, {rootMargin: "-30% 0px -65% 0px"});
  parts.forEach(section => seen.observe(section));
}

for (const draw of [facts, results, guards, tradeoff, dial, scores, pictures, provenance, contents]) draw();
})();
