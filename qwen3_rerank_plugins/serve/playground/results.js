// Show rankings. Every text of a document, a query or an answer becomes a text node, and never markup.

// Return an element with attributes and children; strings become text nodes.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Return the place of each document in a ranking, from 1, by its index.
export function placesOf(results) {
  return new Map(results.map((result, place) => [result.index, place + 1]));
}

// Show the input order beside one ranking, or two rankings beside each other.
export function show(target, documents, rankings) {
  const columns = rankings.map((ranking, number) => {
    const compared = number ? placesOf(rankings[0].results) : null;
    return ranked(ranking, documents, compared);
  });
  if (rankings.length === 1) columns.unshift(before(rankings[0], documents));
  target.replaceChildren(...columns);
  for (const mark of target.querySelectorAll("mark")) {
    mark.parentElement.scrollTop = mark.offsetTop;
  }
}

function before(ranking, documents) {
  const byIndex = new Map(ranking.results.map((result) => [result.index, result]));
  const places = placesOf(ranking.results);
  const items = documents.map((text, index) => {
    const result = byIndex.get(index);
    const now = result ? `now ${places.get(index)}` : "left out";
    return item(index + 1, result, make("span", {}, now), text, null);
  });
  return column("Before", "The order of the input.", items);
}

function ranked(ranking, documents, compared) {
  const items = ranking.results.map((result, place) => {
    const old = compared ? compared.get(result.index) : result.index + 1;
    return item(place + 1, result, moved(old, place + 1), documents[result.index], result.span);
  });
  const time = `${ranking.milliseconds.toFixed(0)} ms (${ranking.computingMilliseconds.toFixed(0)} ms of them in passes)`;
  const facts = `${ranking.results.length} of ${documents.length} documents, ${ranking.tokens.toLocaleString("en")} tokens, ${time}`;
  return column(ranking.title, compared ? `${facts}. Places are compared with the first instruction.` : facts, items);
}

function column(title, facts, items) {
  const list = items.length ? make("ol", {}, ...items) : make("p", {}, "No document.");
  return make("section", { class: "column" }, make("h3", {}, title), make("p", { class: "facts" }, facts), list);
}

// Say from which place a document came, in words that do not need the color.
function moved(old, now) {
  if (old === undefined) return make("span", { class: "up" }, "▲ new");
  if (old === now) return make("span", {}, "= same place");
  return make("span", { class: old > now ? "up" : "down" }, `${old > now ? "▲" : "▼"} from ${old}`);
}

function item(place, result, note, text, span) {
  const line = make("div", { class: "line" }, make("span", { class: "place" }, String(place)));
  const score = result ? result.relevance_score.toFixed(3) : "";
  line.append(bar(result ? result.relevance_score : 0), make("span", { class: "score" }, score), note);
  if (result?.truncated_tokens) {
    line.append(make("span", { class: "cut" }, `✂ ${result.truncated_tokens.toLocaleString("en")} tokens not read`));
  }
  return make("li", {}, line, textOf(text, span));
}

function bar(score) {
  const filled = make("span");
  filled.style.width = `${100 * score}%`;
  return make("div", { class: "bar", "aria-hidden": "true" }, filled);
}

// Return a text with the window that has the best score marked. Spans count characters as Python does.
function textOf(text, span) {
  const shown = make("div", { class: "text" });
  if (!span) {
    shown.append(text);
  } else {
    const characters = Array.from(text);
    const part = (start, end) => characters.slice(start, end).join("");
    shown.append(part(0, span[0]), make("mark", {}, part(span[0], span[1])), part(span[1]));
  }
  if (text.length > 300) {
    shown.tabIndex = 0;
    shown.setAttribute("role", "region");
    shown.setAttribute("aria-label", "Text of the document");
  }
  return shown;
}
