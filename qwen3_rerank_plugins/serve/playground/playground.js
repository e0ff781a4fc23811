// The page: read the form, ask the server, show what came back.

import { readDocuments } from "./documents.js";
import { askHealth, rank, Refusal } from "./ranking.js";
import { show } from "./results.js";

const EXAMPLE = {
  query: "How long does a soft-boiled egg take?",
  documents: [
    "Eggs are sold by weight, from small to extra large.",
    "Put the egg into boiling water and take it out after six minutes for a soft yolk.",
    "A hard-boiled egg takes ten minutes and peels best when it is a week old.",
    "How long a letter takes depends on the post office.",
    "Soft soap is made with potassium, hard soap with sodium.",
  ],
};

const field = (id) => document.getElementById(id);
const number = (id) => (field(id).value === "" ? null : Number(field(id).value));
let latest = 0;

function fail(message) {
  field("status").textContent = message;
  field("status").className = "failure";
  field("results").replaceChildren();
}

function tell(message) {
  field("status").textContent = message;
  field("status").className = "";
}

function countDocuments() {
  try {
    const count = readDocuments(field("documents").value).length;
    field("count").textContent = `${count} document${count === 1 ? "" : "s"}`;
  } catch (error) {
    field("count").textContent = error.message;
  }
}

async function openFile(file) {
  try {
    const documents = readDocuments(await file.text(), file.name);
    field("documents").value = documents.map((text) => JSON.stringify(text)).join("\n");
    countDocuments();
    tell(`${documents.length} documents read from the file.`);
  } catch (error) {
    fail(`The file cannot be read: ${error.message}`);
  }
}

async function rankAll() {
  const query = field("query").value;
  const documents = readDocuments(field("documents").value);
  const instructions = [field("instruction-a").value.trim()];
  const second = field("instruction-b").value.trim();
  if (second) instructions.push(second);
  const options = {
    query,
    documents,
    minScore: number("min-score"),
    reading: field("reading").value,
    maxTokens: number("max-tokens"),
    key: field("key").value,
  };
  const answers = await Promise.all(instructions.map((instruction) => rank({ ...options, instruction })));
  const own = "The server's instruction";
  const rankings = answers.map((answer, place) => ({
    ...answer,
    title: answers.length === 1 ? "After" : instructions[place] || own,
  }));
  return { documents, rankings };
}

async function submit(event) {
  event.preventDefault();
  latest += 1;
  const mine = latest;
  field("rank").disabled = true;
  tell("Ranking ...");
  try {
    const { documents, rankings } = await rankAll();
    if (mine !== latest) return;
    show(field("results"), documents, rankings);
    const count = documents.length === 1 ? "1 document" : `${documents.length} documents`;
    tell(`Ranked ${count}${rankings.length > 1 ? " with two instructions" : ""}.`);
  } catch (error) {
    fail(error instanceof Refusal || !(error instanceof TypeError) ? error.message : "The server does not answer.");
  } finally {
    field("rank").disabled = false;
  }
}

async function watchServer() {
  const told = { ok: "ready", loading: "being loaded", failed: "failed to load; see the server's log" };
  try {
    const { status, model } = await askHealth();
    field("server").textContent = `Model ${model}: ${told[status] ?? status}`;
    if (status === "loading") setTimeout(watchServer, 1000);
  } catch {
    field("server").textContent = "The server does not answer.";
  }
}

field("question").addEventListener("submit", submit);
field("documents").addEventListener("input", countDocuments);
field("file").addEventListener("change", () => {
  const [file] = field("file").files;
  if (file) openFile(file);
});
field("example").addEventListener("click", () => {
  field("query").value = EXAMPLE.query;
  field("documents").value = EXAMPLE.documents.join("\n");
  countDocuments();
});
for (const kind of ["dragenter", "dragover"]) {
  field("documents").addEventListener(kind, (event) => {
    event.preventDefault();
    field("documents").classList.add("dropping");
  });
}
for (const kind of ["dragleave", "drop"]) {
  field("documents").addEventListener(kind, () => field("documents").classList.remove("dropping"));
}
field("documents").addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (!file) return;
  event.preventDefault();
  openFile(file);
});
countDocuments();
watchServer();
