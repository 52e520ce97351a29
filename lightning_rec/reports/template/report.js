"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

for (const script of all('figure > script[type="application/json"]')) {
  const { data, layout } = JSON.parse(script.textContent);
  const target = script.previousElementSibling;
  layout.font = { family: getComputedStyle(document.body).fontFamily, size: 12 };
  Plotly.newPlot(target, data, layout, { responsive: true, displayModeBar: false });
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

for (const chip of all(".chip")) {
  chip.addEventListener("click", () => {
    const visible = chip.getAttribute("aria-pressed") !== "true";
    const setting = Number(chip.dataset.setting);
    for (const same of all(`.chip[data-setting="${setting}"]`)) same.setAttribute("aria-pressed", visible);
    for (const column of all(`[data-of="${setting}"]`)) column.hidden = !visible;
    for (const plot of all(".js-plotly-plot")) {
      const found = plot.data.flatMap((trace, place) => (trace.meta === setting ? [place] : []));
      if (found.length) Plotly.restyle(plot, { visible }, found);
    }
  });
}

for (const table of all("table.sortable")) {
  const headings = all("thead th", table);
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const up = heading.getAttribute("aria-sort") === "descending";
    for (const each of headings) each.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.order;
    const rows = all("tbody tr", table).sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
      const numbers = !Number.isNaN(Number(a)) && !Number.isNaN(Number(b));
      const order = numbers ? Number(a) - Number(b) : a.localeCompare(b);
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
  }));
}

for (const button of all(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // no clipboard for this page: mark the text, and copy what is marked
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
