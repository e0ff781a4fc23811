// Read documents from what was pasted or dropped: lines of text, JSONL, a JSON array, or CSV.

const FIELDS = ["text", "page_content", "content", "document", "passage"];

// Return the documents in a text; `name` is that of a file, or empty for pasted text.
export function readDocuments(text, name = "") {
  const body = text.replace(/^\uFEFF/, "");
  if (/\.csv$/i.test(name)) return fromTable(readCsv(body));
  const json = fromJson(body);
  return json ?? lines(body);
}

function lines(text) {
  return text.split(/\r\n|\r|\n/).filter((line) => line.trim());
}

// Return the documents of JSONL or of a JSON array, or null for any other text.
function fromJson(text) {
  const start = text.trimStart()[0];
  if (start !== "{" && start !== "[" && start !== '"') return null;
  try {
    const whole = start === "[" ? JSON.parse(text) : lines(text).map((line) => JSON.parse(line));
    return whole.map(textOf);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function textOf(record, index) {
  if (typeof record === "string") return record;
  const field = FIELDS.find((name) => typeof record?.[name] === "string");
  if (!field) throw new Error(`Record ${index + 1} has no text under ${FIELDS.join(", ")}.`);
  return record[field];
}

// Return the column with the texts; without a header that names one, the first column.
function fromTable(rows) {
  const header = (rows[0] ?? []).map((cell) => cell.trim().toLowerCase());
  const field = FIELDS.find((name) => header.includes(name));
  const column = field ? header.indexOf(field) : 0;
  return rows.slice(field ? 1 : 0).map((row) => row[column] ?? "").filter((text) => text.trim());
}

// Split CSV into rows of cells, with quotes as in RFC 4180.
export function readCsv(text) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  const endRow = () => {
    row.push(cell);
    if (row.some((one) => one)) rows.push(row);
    [row, cell] = [[], ""];
  };
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[at + 1] === '"') [cell, at] = [`${cell}"`, at + 1];
      else quoted = false;
    } else if (character === '"' && !cell) quoted = true;
    else if (character === ",") {
      row.push(cell);
      cell = "";
    } else if (character === "\n") endRow();
    else if (character !== "\r") cell += character;
  }
  endRow();
  return rows;
}
