"use strict";
// A light question every two seconds: the page loads itself again when the folder has grown.
const now = document.documentElement.dataset.version;
setInterval(async () => {
  try {
    const version = await (await fetch("version", { cache: "no-store" })).text();
    if (version !== now) location.reload();
  } catch { /* the report has ended: what is shown stays */ }
}, 2000);
