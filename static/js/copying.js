// A table as text on the clipboard: CSV for a spreadsheet, Markdown for a report.

export async function copyTable(table, format, told) {
  const rows = [...table.rows].map((row) => [...row.cells].map(textOf)).filter((cells) => cells.length > 1);
  const text = format === "csv" ? csv(rows) : markdown(rows);
  try {
    await navigator.clipboard.writeText(text);
    told.textContent = `Copied ${rows.length - 1} rows.`;
  } catch {
    told.textContent = "The browser does not let the page copy.";
  }
}

// What a cell says in full: its title where the page shortened it; the marks for screen readers are no values.
function textOf(cell) {
  const full = cell.querySelector("[title]") || (cell.title ? cell : null);
  if (full) return full.title;
  const bare = document.createElement("div");
  bare.append(cell.cloneNode(true));
  for (const node of bare.querySelectorAll(".unseen, .none, .delta i")) node.remove();
  return bare.textContent.replace(/\s+/g, " ").trim();
}

// Spreadsheets take what begins with these signs for a formula; numbers may begin with a minus.
const csv = (rows) => rows.map((cells) => cells.map((cell) => {
  const safe = /^[=+@\t\r]|^-(?![\d.])/.test(cell) ? `'${cell}` : cell;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}).join(",")).join("\r\n");

const markdown = ([head, ...rows]) => [head, head.map((_, n) => (n ? "---:" : "---")), ...rows]
  .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`).join("\n");
