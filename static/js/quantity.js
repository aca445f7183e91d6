// Numbers with their unit, as portal/toolkit/quantity.py says them.

const LADDERS = { "KB/s": ["KB/s", "MB/s", "GB/s", "TB/s"], MB: ["MB", "GB", "TB", "PB"] };
const SHORT = new Set(["%", "s", "ms", "KB/s", "MB"]); // units that an axis repeats; others stand beside the title
const formats = [0, 1, 2].map((places) => new Intl.NumberFormat("en", { minimumFractionDigits: places, maximumFractionDigits: places }));

function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95 || Number.isInteger(value)) return formats[0].format(value);
  return formats[size >= 0.995 ? 1 : 2].format(value);
}

// `words` has day, hour, minute and second in the page's language, with %s where the number stands.
function duration(seconds, words) {
  const whole = Math.floor(seconds);
  const parts = [[86400, words.day], [3600, words.hour], [60, words.minute], [1, words.second]];
  const first = parts.findIndex(([size]) => whole >= size);
  if (first < 0) return words.second.replace("%s", 0);
  const [[size, word], next] = [parts[first], parts[first + 1]];
  const head = word.replace("%s", Math.floor(whole / size));
  return next ? `${head} ${next[1].replace("%s", Math.floor((whole % size) / next[0]))}` : head;
}

/** As `quantity`, for the ticks of an axis: round numbers, written short. */
export function tick(value, unit, words) {
  if (unit === "%") return `${Number(value.toFixed(2))}%`;
  if (value === 0) return "0";
  return quantity(value, SHORT.has(unit) ? unit : "", words);
}

export function quantity(value, unit, words) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (unit === "%") return `${formats[value < 99.95 ? 1 : 0].format(value)}%`;
  if (unit === "s" && value >= 120) return duration(value, words);
  if (unit === "ms" && value >= 1000) [value, unit] = [value / 1000, "s"];
  const ladder = LADDERS[unit] ?? [unit];
  let step = 0;
  while (Math.abs(value) >= 999.5 && step < ladder.length - 1) [value, step] = [value / 1024, step + 1];
  if (unit.startsWith("1/")) return `${digits(value)}${unit.slice(1)}`;
  return `${digits(value)} ${ladder[step]}`.trim();
}
