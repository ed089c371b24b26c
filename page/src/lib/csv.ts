// Tables as CSV (RFC 4180) for spreadsheets. What a model wrote must stay text there: a cell that begins as a formula
// does gets a quote in front, which spreadsheets do not show.

// csvCell writes one cell.
export function csvCell(value: string | number): string {
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const text = /^[\s]*[=+\-@]|^[\t\r]/.test(value) ? "'" + value : value;
  return /[",\r\n;\t']|^\s|\s$/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

// csv writes lines of cells. It begins with a byte order mark, by which spreadsheets know UTF-8.
export function csv(lines: (string | number)[][]): string {
  return "\uFEFF" + lines.map((line) => line.map(csvCell).join(",") + "\r\n").join("");
}
