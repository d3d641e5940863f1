"use strict";
// Draws each figure when it comes into view, in the page's colours; sorts the table; copies the command.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const charts = [...document.querySelectorAll(".chart")];
  const specs = new Map(charts.map((chart) => [chart, document.querySelector(`script[data-for="${chart.id}"]`)]));
  const drawn = new Set();
  const PRINTED = 660; // CSS pixels: an A4 or Letter page without its margins
  let printing = false;

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    // Some browsers apply the print style only after `beforeprint`, so its colours are repeated here.
    return printing
      ? { page: "#ffffff", raised: "#ffffff", ink: "#000000", quiet: "#404750", line: "#d9dde2" }
      : { page: color("--page"), raised: color("--raised"), ink: color("--ink"), quiet: color("--quiet"), line: color("--line") };
  }

  function layout(chart) {
    const { layout: given } = JSON.parse(specs.get(chart).textContent);
    const color = theme();
    const narrow = chart.clientWidth < 480;
    const font = { family: getComputedStyle(document.body).fontFamily, size: narrow ? 12 : 13, color: color.ink };
    for (const [name, axis] of Object.entries(given)) {
      if (/^[xy]axis\d*$/.test(name)) {
        Object.assign(axis, { gridcolor: color.line, linecolor: color.line, tickcolor: color.line });
        axis.tickfont = { color: color.quiet };
        if (axis.title && axis.title.text) axis.title = { ...axis.title, font: { color: color.quiet, size: font.size } };
        if (matchMedia("(pointer: coarse)").matches) axis.fixedrange = true; // a finger scrolls the page
      }
    }
    for (const note of given.annotations ?? []) {
      note.font = { color: color.quiet, ...note.font };
      if (note.bgcolor) note.bgcolor = color.page;
    }
    const width = printing ? (chart.closest(".grid") ? PRINTED / 2 - 16 : PRINTED) : chart.clientWidth;
    return {
      ...given, font, width,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      legend: { ...given.legend, font: { color: color.quiet, size: 12 }, bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: color.raised, bordercolor: color.line, font: { color: color.ink, family: font.family } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color.quiet, activecolor: color.ink, orientation: "v" },
    };
  }

  const config = {
    displaylogo: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    displayModeBar: matchMedia("(pointer: coarse)").matches ? false : "hover",
  };

  function draw(chart) {
    if (drawn.has(chart)) return;
    drawn.add(chart);
    const { data } = JSON.parse(specs.get(chart).textContent);
    Plotly.newPlot(chart, data, layout(chart), config);
    performance.mark(`drawn ${chart.id}`);
  }

  function redraw() {
    for (const chart of drawn) Plotly.react(chart, chart.data, layout(chart), config);
  }

  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        near.unobserve(target);
        draw(target);
      }
    }
  }, { rootMargin: "300px" });
  // The browser's idle time draws the other figures, so that printing and searching in the page find them.
  const idle = window.requestIdleCallback ?? ((callback) => setTimeout(callback, 200));
  const drawNext = () => {
    const next = charts.find((chart) => !drawn.has(chart));
    if (next) {
      draw(next);
      idle(drawNext);
    }
  };
  // Plotly takes about a second to start, so the text appears first.
  function start() {
    if (!charts.length || window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
    charts.forEach((chart) => near.observe(chart));
    idle(drawNext);
  }
  addEventListener("load", () => setTimeout(start));

  dark.addEventListener("change", redraw);
  let waiting = 0;
  let before = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === before) return; // only the height changed: a phone's address bar
    before = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 150);
  });
  addEventListener("beforeprint", () => {
    printing = true;
    start();
    charts.forEach(draw);
    redraw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    redraw();
  });

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const key = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const numbers = head.classList.contains("n");
        const isScore = numbers && head.textContent.trim() === "score";
        const first = isScore && table.dataset.better === "higher" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        const order = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", other === head ? order : "none"));
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...body.rows].map((row) => [key(row, column), row]);
        rows.sort(([a], [b]) => {
          if (a === "" || b === "") return (a === "") - (b === ""); // empty cells come last in both orders
          return sign * (numbers && !isNaN(a) && !isNaN(b) ? a - b : String(a).localeCompare(b, undefined, { numeric: true }));
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  const copy = document.getElementById("copy");
  copy?.addEventListener("click", async () => {
    const command = document.getElementById("command");
    try {
      await navigator.clipboard.writeText(command.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command); // a page from the disk may have no access to the clipboard
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
})();
