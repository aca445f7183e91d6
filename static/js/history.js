// The history page: filters that apply when they are chosen, and rows without end.

import { endless } from "./endless.js";
import { TimeRange } from "./range.js";

const filters = document.getElementById("filters");
new TimeRange(filters, (said) => location.assign(`${filters.action}?${new URLSearchParams(said)}`));
document.getElementById("filter-metric").addEventListener("change", () => filters.requestSubmit());

const rows = document.getElementById("rows");
if (rows) endless(rows);
