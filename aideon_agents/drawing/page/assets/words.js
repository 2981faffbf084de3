// Formats figures for people. Money is an exact decimal string; null is unknown.

const NANO = 1e9;
const THIN = "\u2009";

// Integer billionths of a dollar, whose sums are exact.
const nano = (usd) => (usd === null ? null : Math.round(Number(usd) * NANO));

// A formatter is slow to create and quick to use.
const EXACT = Object.fromEntries([2, 4, 6, 7, 8, 9].map((digits) => [digits, new Intl.NumberFormat("en-US", {
  minimumFractionDigits: digits, maximumFractionDigits: digits,
})]));
const WHOLE_NUMBER = new Intl.NumberFormat("en-US");

function money(nanos, complete = true) {
  if (nanos === null || (!nanos && !complete)) return "?"; // "at least 0" would say nothing
  const usd = nanos / NANO;
  const digits = usd >= 1 ? 2 : usd >= 0.01 ? 4 : Math.max(6, 10 - String(nanos).length);
  const shown = "$" + (nanos === 0 ? "0" : EXACT[digits].format(usd));
  return complete ? shown : ">= " + shown;
}

const number = (value) => (value === null ? "?" : WHOLE_NUMBER.format(value));

const tokenSum = (value, counted) => (value === null ? "?" : (counted ? "" : ">= ") + number(value));

function duration(ms) {
  if (ms === null) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  const units = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = units.findIndex(([size]) => seconds >= size);
  const [[large, name], [small, rest]] = units.slice(at, at + 2);
  const left = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${name}` + (left ? ` ${left} ${rest}` : "");
}

// A node's time is counted in two ways, and each says which.
const ELAPSED = "From the start of its first call to the end of its last, with the time between";
const MODEL_TIME = "The durations of its calls added up, those at the same time too";

const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

const share = (part, whole, complete = true) => {
  if (!whole || (!part && !complete)) return "";
  const percent = (100 * part) / whole;
  return percent > 0 && percent < 0.1 ? "< 0.1 %" : `${percent.toFixed(percent < 10 ? 1 : 0)} %`;
};

const STATUS = {
  ok: ["ok", "good"], error: ["failed", "bad"], broken: ["broke off", "warning"],
  cancelled: ["cancelled", "quiet"], cached: ["cached", "quiet"], started: ["running", "busy"],
};

const RUN = {
  completed: "good", failed: "bad", crashed: "bad", stopped: "warning", waiting: "warning",
  cancelled: "quiet", running: "busy",
};

// A cell as in RFC 4180. One that a spreadsheet could read as a formula gets an apostrophe.
function cell(value) {
  if (value === null) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? "'" + value : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csv = (rows) => rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
